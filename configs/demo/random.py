# Random subsets of the same mean cost as the policy's: what choosing at
# random is worth.
_base_ = './uniform.py'
model = dict(
    selector=dict(_delete_=True, type='mmrlkd.RandomSelector', cost=2.5))
