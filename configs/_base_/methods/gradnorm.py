# The levels' losses are weighed by GradNorm.
gradnorm = dict(
    balancer=dict(
        type='mmrlkd.GradNorm', alpha=1.5, lr=1e-2, report_every=500))
