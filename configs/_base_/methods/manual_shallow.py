manual_shallow = dict(
    selector=dict(_delete_=True, type='mmrlkd.ManualShallowSelector'))
