"""Connectors: from a student's map to the teacher's width and size."""

from .base import Connector
from .conv import ConvConnector
from .identity import IdentityConnector
from .mlp import MLPConnector

__all__ = ['Connector', 'ConvConnector', 'IdentityConnector', 'MLPConnector']
