# RL greedy: the likeliest levels at each step wherever nothing is learnt from
# them, and no lookahead (γ = 0).
_base_ = './ppo.py'
model = dict(
    selector=dict(greedy=True, learner=dict(type='mmrlkd.PPO', gamma=0.0)))
