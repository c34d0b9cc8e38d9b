# A control: random levels with the rates of PPO's in each batch, each level by itself.
_base_ = './ppo.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True,
            type='mmrlkd.ControlSelector',
            control='rates',
            selector={{_base_.method.model.selector}})))
