# DARTS-LS, second order: the held-out gradient is taken where the step leads.
_base_ = './darts.py'
method = dict(model=dict(selector=dict(order=2)))
