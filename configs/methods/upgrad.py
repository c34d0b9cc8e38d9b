# All levels; UPGrad combines their gradients, by torchjd (docs/methods/balancing.md).
_base_ = './uniform.py'
method = dict(
    model=dict(balancer=dict(type='mmrlkd.TorchJDBalancer', aggregator='UPGrad')))
