# A control: the choices of `expected_reward`, permuted at random among the images of
# each batch. Same schedule, rates, sizes and cost; what is left of the policy's lead
# over it is what choosing by the image is worth.
_base_ = './expected_reward.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True,
            type='mmrlkd.ControlSelector',
            control='shuffled',
            selector={{_base_.method.model.selector}})))
