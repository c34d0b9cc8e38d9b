"""The cost of distilling at a level."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.structures import Boxes

#: Currencies that a config can name.
CURRENCIES = ('nominal', 'pixels', 'flops')


@dataclass(frozen=True)
class Flops:
    """Counted FLOPs for one probe image (the teacher's ``adapter.probe``).

    By torch's counter: two for each multiply-add of convolutions and matrix
    products, none for elementwise operations.

    Attributes:
        trunk: of the teacher, once per image for all levels: its backbone and,
            for an FPN, the lateral maps (in training, lateral maps finer than
            the finest selected level are not computed).
        teacher: (L,) of each of its levels in addition: the output convolution.
        forward: (L,) of the connectors and losses of each of the student's.
        backward: (L,) of their gradient.
    """
    trunk: float
    teacher: tuple[float, ...]
    forward: tuple[float, ...]
    backward: tuple[float, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        """(L,) what selecting each level adds in a training iteration, if it
        learns from the teacher's level of the same name."""
        return tuple(map(sum, zip(
            self.teacher, self.forward, self.backward, strict=True)))


def count_flops(teacher: Teacher, student: tuple[Level, ...],
                links: nn.ModuleList) -> Flops:
    """Count by running each link once, as in training."""
    parameter = next(teacher.parameters())
    image = teacher.adapter.probe_image()
    pyramid = LazyPyramid(
        teacher.adapter, teacher.levels, image, teacher.execution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        pyramid.prepare()
    trunk = counter.get_total_flops()
    # prepare() has cached the trunk, so that each level counts its own part.
    taught, targets = [], []
    for i in range(len(student)):
        with FlopCounterMode(display=False) as counter:
            targets.append(pyramid.level(i))
        taught.append(float(counter.get_total_flops()))
    middle = Boxes(  # for losses that need boxes
        image.new_tensor([[[0.25, 0.25, 0.75, 0.75]]]),
        torch.ones(1, 1, dtype=torch.bool, device=image.device))
    counts = []
    for level, its_links in zip(student, links, strict=True):
        maps = parameter.new_zeros(
            1, level.channels, *level.size).requires_grad_()
        with torch.enable_grad(), FlopCounterMode(display=False) as forward:
            total = torch.stack([
                link(maps, targets[link.teacher], middle)
                for link in its_links
            ]).sum()
        with FlopCounterMode(display=False) as backward:
            total.backward()  # the counter does not follow autograd.grad
        # Elementwise work is not counted: MSE with equal widths costs 0.
        counts.append([float(counter.get_total_flops())
                       for counter in (forward, backward)])
    links.zero_grad()
    return Flops(float(trunk), tuple(taught),
                 *map(tuple, zip(*counts, strict=True)))


def price_levels(costs: str | Mapping[str, float], levels: tuple[Level, ...],
                 flops: Flops) -> tuple[float, ...]:
    """Cost of each level in the currency that the config names.

    Args:
        costs: ``'nominal'``: 2^(4 − k) for level k, so P2..P5 cost 4, 2, 1,
            0.5; ``'pixels'``: positions of the teacher's map; ``'flops'``:
            :attr:`Flops.levels`; or a number for each name.
        levels: the teacher's.
        flops: counted.

    Raises:
        ValueError: an unknown currency, a level without a cost, a cost that
            is not a positive number.
    """
    names = [level.name for level in levels]
    if isinstance(costs, str):
        if costs not in CURRENCIES:
            raise ValueError(
                f'costs={costs!r} is not known; accepted: '
                f"{', '.join(CURRENCIES)}, or a number for each level.")
        # Nominal costs halve from level to level; positions of maps quarter.
        priced = {
            'nominal': [2.0**(4 - int(name[1:])) for name in names],
            'pixels': [float(level.size[0] * level.size[1])
                       for level in levels],
            'flops': list(flops.levels),
        }[costs]
    else:
        if set(costs) != set(names):
            raise ValueError(
                f'costs names {sorted(costs)}; accepted: one number for each '
                f'of {names}.')
        priced = [float(costs[name]) for name in names]
    for name, cost in zip(names, priced, strict=True):
        if not (isfinite(cost) and cost > 0):
            raise ValueError(
                f'costs: {name} costs {cost} in {costs!r}; accepted: costs '
                "> 0 ('flops' counts nothing where a level runs no "
                "convolution; use 'pixels' or 'nominal' there).")
    return tuple(priced)
