# PPO without a sequence: all levels are chosen in one step.
_base_ = './ppo.py'
method = dict(model=dict(selector=dict(horizon=1)))
