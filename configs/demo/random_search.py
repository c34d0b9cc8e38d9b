# 8 of the 15 subsets, drawn at random: what a search has to beat.
_base_ = './exhaustive.py'
search = dict(
    strategy=dict(_delete_=True, type='mmrlkd.RandomSearch', evaluations=8))
