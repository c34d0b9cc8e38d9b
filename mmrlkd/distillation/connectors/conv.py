"""The connector for maps that differ in width."""

from torch import Tensor, nn

from mmrlkd.registry import CONNECTORS

from .base import Connector


@CONNECTORS.register_module()
class ConvConnector(Connector):
    """A 1×1 convolution if the widths differ, otherwise the identity."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels)
        self.conv: nn.Module = nn.Identity()
        if student_channels != teacher_channels:
            self.conv = nn.Conv2d(student_channels, teacher_channels, 1)
            # Keeps the variance of the map: no activation follows.
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity='linear')
            nn.init.zeros_(self.conv.bias)

    def project(self, student: Tensor) -> Tensor:
        return self.conv(student)

    def extra_repr(self) -> str:
        return f'{self.student_channels} -> {self.teacher_channels}'
