# All subsets. Run it by tools/search.py, on a GPU for each of search.workers.
search = dict(strategy=dict(type='mmrlkd.ExhaustiveSearch'))
