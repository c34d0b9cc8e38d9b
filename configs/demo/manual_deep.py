_base_ = './uniform.py'
model = dict(selector=dict(_delete_=True, type='mmrlkd.ManualDeepSelector'))
