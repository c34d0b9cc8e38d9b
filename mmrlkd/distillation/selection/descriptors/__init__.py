"""Descriptors: one number for each image, from its labels, its teacher or its
student. States of policies, groups of images and rewards use them."""

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
