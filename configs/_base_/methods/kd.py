# Vanilla distillation: the teacher's logits, no levels.
kd = dict(
    selector=dict(_delete_=True, type='mmrlkd.NoneSelector'),
    logit_loss=dict(type='mmrlkd.KLLoss', tau=1.0))
