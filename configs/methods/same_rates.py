# A control: random levels with the rates that `expected_reward` has in each batch, each
# level by itself.
_base_ = './expected_reward.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True,
            type='mmrlkd.ControlSelector',
            control='rates',
            selector={{_base_.method.model.selector}})))
