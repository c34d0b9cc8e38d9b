# All subsets, each trained and scored, by tools/search.py.
_base_ = './uniform.py'
method = dict(search=dict(strategy=dict(type='mmrlkd.ExhaustiveSearch')))
