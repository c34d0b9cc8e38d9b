# Eight subsets drawn at random, by tools/search.py: what a search has to beat.
_base_ = './uniform.py'
method = dict(
    search=dict(strategy=dict(type='mmrlkd.RandomSearch', evaluations=8)))
