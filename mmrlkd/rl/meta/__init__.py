"""Learning to learn: policies that a few gradient steps adapt to a new task."""

from .learner import Clone, MetaDiagnostics, MetaLearner, descend
from .maml import MAML
from .objectives import DiCE, ExactReward, Objective, magic_box
from .reptile import Reptile
from .task import KnownTask, Task, check_shots

__all__ = [
    'MAML', 'Clone', 'DiCE', 'ExactReward', 'KnownTask', 'MetaDiagnostics',
    'MetaLearner', 'Objective', 'Reptile', 'Task', 'check_shots', 'descend',
    'magic_box'
]
