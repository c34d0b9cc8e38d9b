"""The connector for losses that compare maps of any width."""

from torch import Tensor

from mmrlkd.registry import CONNECTORS

from .base import Connector


@CONNECTORS.register_module()
class IdentityConnector(Connector):
    """Keeps the width of the student's map; only its size is changed."""

    def project(self, student: Tensor) -> Tensor:
        return student
