# PPO without sequence: all levels are chosen in one step, so there is nothing for
# a memory to carry; the network stays that of ppo.py, to compare the steps alone.
_base_ = './ppo.py'
model = dict(selector=dict(horizon=1))
