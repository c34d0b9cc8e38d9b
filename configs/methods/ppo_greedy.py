# PPO without look-ahead: γ = 0, and the likeliest subset at each step wherever
# nothing is learnt from it.
_base_ = './ppo.py'
method = dict(
    model=dict(selector=dict(greedy=True, learner=dict(gamma=0.0))))
