# All levels; each loss is weighed by a running mean of 1 / its gradient's norm.
_base_ = './uniform.py'
method = dict(
    model=dict(balancer=dict(type='mmrlkd.EMABalancer', report_every=50)))
