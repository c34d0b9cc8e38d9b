"""What a meta-learner learns from: environments of which samples can be taken."""

from typing import Protocol, Self

from torch import Tensor

from mmrlkd.arguments import check_integer, refuse
from mmrlkd.rl.environment import Environment
from mmrlkd.rl.policy import Policy


class Task(Environment, Protocol):
    """An :class:`~mmrlkd.rl.environment.Environment` that returns rewards, with
    one episode for each of its samples."""

    def take(self, episodes: Tensor) -> Self:
        """The environment of some samples.

        Args:
            episodes: (B',) int64, their indices in [0, B).
        """
        ...


class KnownTask(Task, Protocol):
    """A task of which it is known what every outcome of an episode is worth."""

    def expected_reward(self, policy: Policy) -> Tensor:
        """(B,) expected sum of an episode's rewards, with its graph: Σ_s
        π(s) R(s), over the outcomes."""
        ...


def check_shots(owner: str, shots: int, task: Task, spared: int = 0) -> int:
    """Raise a ValueError if a task does not have so many samples.

    Args:
        owner: the class, for messages.
        shots: samples wanted.
        task: has ``batch_size`` of them.
        spared: of which so many must be left.
    """
    check_integer(owner, 'shots', shots, 1)
    most = task.batch_size - spared
    if shots > most:
        left = f', {spared} of which tests the result' if spared else ''
        refuse(owner, 'shots', shots,
               f'at most {most}, for the task has {task.batch_size} '
               f'samples{left}')
    return shots
