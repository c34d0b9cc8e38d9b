# The levels that the command line names, with equal weights:
#     --method fixed_subset --cfg-options 'model.selector.levels=(P3,P4)'
_base_ = './uniform.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.FixedSelector')))
