# PPO without efficiency: λ = 0, levels cost nothing.
_base_ = './ppo.py'
method = dict(model=dict(selector=dict(reward=dict(efficiency=0.0))))
