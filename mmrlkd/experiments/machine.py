"""What this machine has for trainings to share."""

import os

from mmengine.device import get_device

#: More threads than this make small models slower.
MOST_THREADS = 4


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def most_jobs(runs: int) -> int:
    """How many runs to train at a time: a GPU has one, a core each one."""
    return min(runs, cores()) if get_device() == 'cpu' else 1


def share_threads(jobs: int) -> None:
    """Give each of the trainings to come its threads, unless the user did.

    Small models gain more from a core each than from two cores for one.
    """
    os.environ.setdefault(
        'OMP_NUM_THREADS', str(min(max(cores() // jobs, 1), MOST_THREADS)))
