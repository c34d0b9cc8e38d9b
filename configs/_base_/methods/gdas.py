gdas = dict(selector=dict(_delete_=True, type='mmrlkd.GDASSelector'))
