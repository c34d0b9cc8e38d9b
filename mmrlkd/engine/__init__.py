"""What plugs into mmengine's Runner."""

from .checkpoint_hook import DistillCheckpointHook
from .data_parallel import DistillDataParallel
from .drop_blocks_hook import DropBlocksHook
from .gradnorm_hook import GradNormHook
from .held_out_hook import HeldOutHook
from .meta_phase_hook import MetaPhaseHook
from .param_scheduler_hook import UpdateParamSchedulerHook
from .phase_hook import PhaseHook
from .policy_health_hook import PolicyHealthHook
from .run_state_hook import RunStateHook
from .seeding import SeededIterBasedTrainLoop, SeedHook
from .teacher_cache_hook import TeacherCacheHook

__all__ = [
    'DistillCheckpointHook', 'DistillDataParallel', 'DropBlocksHook',
    'GradNormHook', 'HeldOutHook', 'MetaPhaseHook', 'PhaseHook',
    'PolicyHealthHook', 'RunStateHook', 'SeedHook', 'SeededIterBasedTrainLoop',
    'TeacherCacheHook', 'UpdateParamSchedulerHook'
]
