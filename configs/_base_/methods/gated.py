# CMAPKD: a gating network weighs the levels of each image.
gated = dict(selector=dict(_delete_=True, type='mmrlkd.GatedSelector'))
