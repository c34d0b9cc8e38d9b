search = dict(
    strategy=dict(type='mmrlkd.RandomSearch', evaluations=8))
