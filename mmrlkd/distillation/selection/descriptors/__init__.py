"""What can be told of an image by one number: its labels, its teacher, its
student. For the state of a policy, for groups of images, for rewards."""

from .base import Batch, Descriptor
from .describer import Describer, Descriptions, check_context
from .labels import (
    Boundary,
    ClassEntropy,
    Classes,
    Crowding,
    LargestClass,
    Objects,
    ObjectSize,
)
from .student import Discrepancy, StudentLoss
from .teacher import (
    TeacherConfidence,
    TeacherDetections,
    TeacherEntropy,
    TeacherLoss,
)

__all__ = [
    'Batch', 'Boundary', 'ClassEntropy', 'Classes', 'Crowding', 'Describer',
    'Descriptions', 'Descriptor', 'Discrepancy', 'LargestClass', 'ObjectSize',
    'Objects', 'StudentLoss', 'TeacherConfidence', 'TeacherDetections',
    'TeacherEntropy', 'TeacherLoss', 'check_context'
]
