# All levels; GradNorm weighs their losses by their gradients.
_base_ = './uniform.py'
method = dict(
    model=dict(
        balancer=dict(
            type='mmrlkd.GradNorm', alpha=1.5, lr=1e-2, report_every=50)))
