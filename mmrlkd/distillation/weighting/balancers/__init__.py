"""Balancers: weights of the levels' losses from their gradients."""

from .base import Balancer
from .ema import EMABalancer
from .fixed import FixedBalancer
from .gradnorm import GradNorm
from .pcgrad import PCGrad
from .torchjd import TorchJDBalancer
from .uniform import UniformBalancer

__all__ = [
    'Balancer', 'EMABalancer', 'FixedBalancer', 'GradNorm', 'PCGrad',
    'TorchJDBalancer', 'UniformBalancer'
]
