# Random subsets of the mean cost that the policy had over its run: what choosing
# at random is worth.
_base_ = './uniform.py'
model = dict(
    selector=dict(_delete_=True, type='mmrlkd.RandomSelector', cost=4.66))
