# No distillation: the student alone, with the same data and seeds.
_base_ = './uniform.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.NoneSelector')))
