# By hand: the finer a level, the larger its weight.
_base_ = './uniform.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.ManualShallowSelector')))
