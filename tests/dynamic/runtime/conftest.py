"""A tiny detector as the runtime runs it, and controllers of known preference."""

from collections.abc import Callable

import pytest
import torch
from mmengine.registry import init_default_scope

from mmrlkd.dynamic.deployed import BudgetedController, ControllerHeader
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.registry import MODELS

#: Of the tiny detector: 4 settings.
BUDGET = dict(
    knobs=[dict(type='mmrlkd.InputScale', scales=(0.5, 1.0)),
           dict(type='mmrlkd.ResidualBlocks',
                run=[(1, 1, 1, 1), (2, 2, 2, 2)])],
    feature=dict(stage='layer1', scale=1.0))
#: (S,) in ms, of the controllers below.
MEDIAN = torch.tensor([2., 3., 5., 8.])


class FixedController(BudgetedController):
    """Prefers settings by a given order, whatever it sees.

    Args:
        header: of the controller.
        preferred: the settings, best first; the others come last.
        median: (S,) predicted latencies in ms; bounds are 1.5 times as high.
    """

    def __init__(self, header: ControllerHeader, preferred: list[int],
                 median: torch.Tensor = MEDIAN) -> None:
        settings = len(median)
        super().__init__(header, LatencyModel(
            median, torch.full((settings, ), 1.5), 1.5 * median,
            torch.zeros(header.feature_dim),
            torch.zeros(header.feature_dim, settings), 0.9))
        self.order = torch.zeros(settings)
        for place, setting in enumerate(preferred):
            self.order[setting] = settings - place

    def scores(self, features, context, budget_ms):
        return self.order.expand(len(features), -1)


@pytest.fixture
def budget() -> dict:
    """A config's, of the tiny detector, or another ResNet-18."""
    return BUDGET


@pytest.fixture
def fixed_type() -> type[FixedController]:
    """The class."""
    return FixedController


@pytest.fixture
def tiny_parts(tiny_student) -> BudgetParts:
    """The tiny detector and its knobs, with random weights."""
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(tiny_student)
    model.init_weights()
    return BudgetParts.build(model, BUDGET)


@pytest.fixture
def fixed_controller(tiny_parts) -> Callable[..., FixedController]:
    """A controller of the tiny detector, by the settings that it prefers."""

    def build(*preferred: int, overhead_ms: float = 0.5, **header
              ) -> FixedController:
        return FixedController(ControllerHeader(
            knobs=tiny_parts.space.header(), feature_dim=12, context_dim=0,
            overhead_ms=overhead_ms, budgets=(2, 20),
            feature=tiny_parts.feature.describe(), **header), list(preferred))

    return build
