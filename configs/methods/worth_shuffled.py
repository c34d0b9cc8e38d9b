# The control of `worth`: its choices, permuted at random among the images of a batch.
_base_ = './worth.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True,
            type='mmrlkd.ControlSelector',
            control='shuffled',
            selector={{_base_.method.model.selector}})))
