manual_deep = dict(
    selector=dict(_delete_=True, type='mmrlkd.ManualDeepSelector'))
