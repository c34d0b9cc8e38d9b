# All levels; conflicting gradients are projected off each other.
_base_ = './uniform.py'
method = dict(
    model=dict(balancer=dict(type='mmrlkd.PCGrad', report_every=50)))
