# LAD: for each image, the levels with the best loss for their cost, while they pay.
_base_ = './uniform.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True, type='mmrlkd.GreedySelector', efficiency=0.5)))
