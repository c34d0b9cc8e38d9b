# Random subsets at half of what all levels cost, or at the mean distill_cost of a
# policy's run by model.selector.cost. No control of a policy: it has no warm-up, and
# other rates of the levels; shuffled.py has the policy's.
_base_ = './uniform.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.RandomSelector')))
