# LAD: for each image, the levels with the best loss per cost, while they pay.
_base_ = './uniform.py'
model = dict(
    selector=dict(
        _delete_=True, type='mmrlkd.GreedySelector', efficiency=0.5))
