# A control: the image for which `expected_reward` chose the dearest levels gets the
# cheapest choice of its batch, and so on. Below `shuffled` if the policy chooses the
# right images.
_base_ = './shuffled.py'
method = dict(model=dict(selector=dict(control='opposite')))
