"""The reward by the measured worth of a level to a group of images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import check_number, refuse
from mmrlkd.registry import REWARDS
from mmrlkd.structures import LevelSpace, Signals

from .base import AdditiveReward

#: Keys that a file of worths must have; others are ignored.
_KEYS = ('descriptor', 'edges', 'levels', 'worth')


@REWARDS.register_module()
class GroupWorthReward(AdditiveReward):
    """g_i(x) = the worth of level i for the images of x's group.

    Groups are ranges of a descriptor. ``tools/pilot.py`` measures their worth:
    many short trainings, each with random rates by group and level, and a
    regression of the metric on the rates, as in data models (Ilyas et al. 2022,
    https://arxiv.org/abs/2202.00622). The policy learns to predict the worth
    from the state.

    Args:
        descriptor: name of a descriptor of images, such as ``'objects'``.
        edges: K − 1 rising numbers; an image with ``edges[g − 1] < value <=
            edges[g]`` is in group ``g``.
        worth: K lists of a number for each level, finest first.
        file: instead of these three, a JSON file that has them, and ``levels``:
            the names of the levels in the order of the lists of ``worth``.
        efficiency: see :class:`.base.Reward`.
    """

    edges: Tensor
    worth: Tensor
    worth_of_weight = True

    def __init__(self, descriptor: str | None = None,
                 edges: Sequence[float] | None = None,
                 worth: Sequence[Sequence[float]] | None = None,
                 file: str | None = None, efficiency: float = 0.5) -> None:
        super().__init__(efficiency=efficiency)
        self._levels: list[str] | None = None
        if file is not None:
            if (descriptor, edges, worth) != (None, None, None):
                refuse('GroupWorthReward', 'file', file,
                       'a file, or descriptor, edges and worth, not both')
            content = _read(file)
            descriptor, edges, self._levels, worth = (
                content[key] for key in _KEYS)
        if not isinstance(descriptor, str):
            refuse('GroupWorthReward', 'descriptor', descriptor,
                   "a descriptor's name, such as 'objects'")
        self.descriptor = descriptor
        self.descriptors = (descriptor, )
        bounds = _numbers('edges', edges)
        if any(low >= high for low, high in zip(
                bounds, bounds[1:], strict=False)):
            refuse('GroupWorthReward', 'edges', edges, 'rising numbers')
        if not isinstance(worth, Sequence) or len(worth) != len(bounds) + 1:
            refuse('GroupWorthReward', 'worth', worth,
                   f'{len(bounds) + 1} lists, one for each group of '
                   f'edges={bounds}')
        rows = [_numbers(f'worth[{g}]', row) for g, row in enumerate(worth)]
        width = len(rows[0] if self._levels is None else self._levels)
        for g, row in enumerate(rows):
            if not row or len(row) != width:
                refuse('GroupWorthReward', f'worth[{g}]', row,
                       f'{width or "one or more"} numbers, one for each level')
        self.register_buffer('edges', torch.tensor(bounds), persistent=False)
        self.register_buffer('worth', torch.tensor(rows), persistent=False)

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        names = list(space.names)
        if self._levels is not None:
            if sorted(self._levels) != sorted(names):
                refuse('GroupWorthReward', 'levels', self._levels,
                       f'the levels of the model, {names}')
            # A file may have the levels in another order than the model.
            order = [self._levels.index(name) for name in names]
            self.worth, self._levels = self.worth[:, order], names
        elif self.worth.shape[1] != len(space):
            refuse('GroupWorthReward', 'worth', self.worth.tolist(),
                   f'lists of {len(space)} numbers, for {names}')

    def level_signals(self, signals: Signals) -> Tensor:
        values = signals.describe(self.descriptor).to(self.edges)
        group = torch.bucketize(values, self.edges)
        # bucketize puts NaN into the last group. With a reward of NaN the
        # learner drops the image instead.
        return self.worth[group].where(
            ~values.isnan()[:, None], float('nan'))


def _numbers(key: str, values: Any) -> list[float]:
    """A list of finite numbers."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        refuse('GroupWorthReward', key, values, 'a list of numbers')
    return [float(check_number('GroupWorthReward', f'{key}[{i}]', value))
            for i, value in enumerate(values)]


def _read(file: str) -> dict[str, Any]:
    """The content of a file of worths."""
    try:
        content = json.loads(Path(file).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ValueError(
            f'GroupWorthReward: file={file!r} cannot be read ({error}); '
            f'accepted: a JSON file with the keys {", ".join(_KEYS)}.'
        ) from error
    if not isinstance(content, dict) or not set(_KEYS) <= content.keys():
        refuse('GroupWorthReward', 'file', file,
               f'a JSON file with the keys {", ".join(_KEYS)}')
    if not isinstance(content['levels'], list):
        refuse('GroupWorthReward', 'levels', content['levels'],
               'a list of level names')
    return content
