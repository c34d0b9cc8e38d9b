# Vanilla distillation: the teacher's logits, and no level of its pyramid.
_base_ = './uniform.py'
model = dict(
    selector=dict(_delete_=True, type='mmrlkd.NoneSelector'),
    logit_loss=dict(type='mmrlkd.KLLoss', tau=4.0))
