# A control: random levels with the rates that `expected_reward` has in each batch, each
# level by itself.
_base_ = './shuffled.py'
method = dict(model=dict(selector=dict(control='rates')))
