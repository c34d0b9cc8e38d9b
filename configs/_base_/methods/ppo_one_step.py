# All levels in one step, without sequence.
ppo_one_step = dict(selector=dict(horizon=1))
