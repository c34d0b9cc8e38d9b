# Searches in the training itself, by tools/search.py.
darts = dict(selector=dict(_delete_=True, type='mmrlkd.DARTSSelector'))
