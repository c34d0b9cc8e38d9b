"""Files of meta-policies, and of policies adapted from them."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mmrlkd.files import load_file
from mmrlkd.structures import LevelSpace

from .policies.token import TokenPolicy

#: Number of the format, in each file.
VERSION = 1


@dataclass(frozen=True)
class MetaPolicy:
    """A policy for many tasks, and what it was learnt with.

    Attributes:
        policy: its shared weights; with an adapter where it is one task's.
        reward: config of the tasks' reward, without its ``efficiency``.
        horizon: steps of an episode.
        lr: of the gradient steps that adapt it.
        tasks: names of those that it was learnt from.
        space: levels of the task that it is adapted to; None for none.
    """
    policy: TokenPolicy
    reward: Mapping[str, Any]
    horizon: int
    lr: float
    tasks: tuple[str, ...]
    space: LevelSpace | None = None

    def to_bytes(self) -> bytes:
        """The content of a file, which holds tensors, numbers and containers
        only."""
        buffer = io.BytesIO()
        torch.save(dict(
            version=VERSION, architecture=self.policy.architecture,
            reward=dict(self.reward), horizon=self.horizon, lr=self.lr,
            tasks=list(self.tasks),
            space=None if self.space is None else asdict(self.space),
            policy=self.policy.state_dict()), buffer)
        return buffer.getvalue()


def load_meta_policy(path: str | Path, owner: str = 'checkpoint'
                     ) -> MetaPolicy:
    """Read a file of :meth:`MetaPolicy.to_bytes`, on the CPU.

    Args:
        path: the file.
        owner: config key of the path, for messages.

    Raises:
        ValueError: it is none.
    """
    content = load_file(path, owner)
    try:
        if content['version'] != VERSION:
            raise KeyError(f"version {content['version']}")
        with torch.random.fork_rng(devices=[]):  # no weight stays as drawn
            policy = TokenPolicy(**content['architecture'])
            space = content['space'] and LevelSpace(**content['space'])
            if space:
                policy.bind(space, content['horizon'])
        policy.load_state_dict(content['policy'])
        return MetaPolicy(
            policy, content['reward'], content['horizon'], content['lr'],
            tuple(content['tasks']), space)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f'{owner}={str(path)!r} is no meta-policy ({error}); accepted: a '
            'file of tools/meta_train.py or tools/adapt.py.') from error
