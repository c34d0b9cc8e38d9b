# Decoupled distillation of the teacher's logits, no levels.
_base_ = './none.py'
method = dict(model=dict(logit_loss=dict(type='mmrlkd.DKDLoss')))
