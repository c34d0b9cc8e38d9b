"""Random levels, with rates that depend on the group of the image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import check_number, refuse
from mmrlkd.distillation.selection.environment import (
    DecisionProcess,
    within_budget,
)
from mmrlkd.registry import DESCRIPTORS, SELECTORS
from mmrlkd.structures import Choice, LevelSpace, Selection

from .base import Selector


@SELECTORS.register_module()
class GroupSelector(Selector):
    """Draws each level with a rate that depends on the image's group.

    Groups are intervals of a descriptor. It serves as an oracle ("P2 for images
    with more than ten objects, P5 for the others"), and in pilot studies that
    measure the worth of a level to a group. It learns nothing, and draws in
    evaluation, too.

    Args:
        descriptor: name of one of :mod:`.descriptors`, such as ``'objects'``.
        edges: G − 1 rising numbers; an image with ``edges[g − 1] < value <=
            edges[g]`` is in group ``g``.
        rates: G rows of L probabilities, finest level first; the levels of an
            image are drawn independently.
    """

    adaptive = True
    _rates: Tensor
    _edges: Tensor

    def __init__(self, descriptor: str, edges: Sequence[float],
                 rates: Sequence[Sequence[float]]) -> None:
        super().__init__()
        for i, edge in enumerate(edges):
            check_number('GroupSelector', f'edges[{i}]', edge)
        if list(edges) != sorted(set(edges)):
            refuse('GroupSelector', 'edges', list(edges), 'rising numbers')
        if len(rates) != len(edges) + 1:
            refuse('GroupSelector', 'rates', list(rates),
                   f'{len(edges) + 1} rows, one for each group between and '
                   f'beside edges={list(edges)}')
        for i, row in enumerate(rates):
            for j, rate in enumerate(row):
                check_number('GroupSelector', f'rates[{i}][{j}]', rate, 0, 1)
        self.context = (descriptor, )
        self.edges = list(edges)
        self.rates = [list(row) for row in rates]

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        # Levels of rate 0 are never drawn, and do not count against the budget.
        for i, row in enumerate(self.rates):
            key = f'rates[{i}]'
            if len(row) != len(space):
                refuse('GroupSelector', key, row,
                       f'a probability for each of {list(space.names)}')
            if space.min_levels and max(row) < 1:
                refuse('GroupSelector', key, row,
                       'a level with rate 1, so that no image goes without '
                       'any, or model.min_levels=0')
            cost = sum(cost for cost, rate in zip(
                space.costs, row, strict=True) if rate > 0)
            if not within_budget(cost, space):
                refuse('GroupSelector', key, row,
                       f'levels that cost at most the budget={space.budget} '
                       f'together, not {cost}')
        # The state holds the scaled descriptor, so the edges are scaled, too.
        member = DESCRIPTORS.get(self.context[0])
        edges = torch.tensor(self.edges, dtype=torch.float32)
        self.register_buffer(
            '_edges', edges if member is None else member().scale(edges),
            persistent=False)
        self.register_buffer(
            '_rates', torch.tensor(self.rates, dtype=torch.float32),
            persistent=False)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        values = process.state.context[:, 0].contiguous()
        rates = self._rates[torch.bucketize(values, self._edges)]
        # Uniform in [0, 1): rate 1 always selects, rate 0 never does.
        levels = torch.rand_like(rates) < rates
        return Choice(Selection(levels, self.space.weights(levels)))
