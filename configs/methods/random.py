# Random subsets at half of what all levels cost: what a policy has to beat, given
# the mean distill_cost of its run by model.selector.cost.
_base_ = './uniform.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.RandomSelector')))
