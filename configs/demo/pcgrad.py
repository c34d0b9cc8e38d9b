# All levels; conflicting gradients are projected off each other, at the neck.
_base_ = './uniform.py'
model = dict(balancer=dict(type='mmrlkd.PCGrad', report_every=50))
