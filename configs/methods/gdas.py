# GDAS-LS: one subset drawn for each batch, which is all the student pays for.
_base_ = './darts.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.GDASSelector')))
