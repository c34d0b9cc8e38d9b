"""The connector with a hidden layer."""

from torch import Tensor, nn

from mmrlkd.registry import CONNECTORS

from .base import Connector


@CONNECTORS.register_module()
class MLPConnector(Connector):
    """1×1 convolution – ReLU – 1×1 convolution, also if the widths are equal.

    With a non-linear projector the student's own features need not equal the
    teacher's: Chen et al., 2022, "Improved Feature Distillation via Projector
    Ensemble", https://arxiv.org/abs/2210.15274. The hidden layer has the width of
    the teacher's map.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels)
        self.layers = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1), nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1))
        for layer, gain in ((self.layers[0], 'relu'), (self.layers[2], 'linear')):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=gain)
            nn.init.zeros_(layer.bias)

    def project(self, student: Tensor) -> Tensor:
        return self.layers(student)
