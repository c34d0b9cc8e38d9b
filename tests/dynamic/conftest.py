"""A table whose best settings are known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmrlkd.dynamic.deployed import BudgetedController, ControllerHeader
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.dynamic.table import ProfileTable, TableHeader, write_table
from mmrlkd.registry import MODELS

KNOBS = [dict(name='scale', values=[0.5, 0.75, 1.0]),
         dict(name='blocks', values=['few', 'all'])]
#: (S,) in ms: 10 each for scale and 15 for blocks, on top of 10.
LATENCY = torch.tensor([10., 25, 20, 35, 30, 45])
#: (2, S). Images of type 0 need the scale, those of type 1 the blocks.
QUALITY = torch.tensor([[0.2, 0.2, 0.5, 0.5, 0.8, 0.8],
                        [0.2, 0.8, 0.2, 0.8, 0.2, 0.8]])


def synthetic_rows(images: int, seed: int = 0) -> list[dict]:
    """All settings of images of two types, which feature 0 shows with some noise;
    3 more features say nothing. Latencies have 2 % of noise."""
    draw = torch.Generator().manual_seed(seed)
    kind = torch.randint(2, (images, ), generator=draw)
    features = torch.randn(images, 4, generator=draw)
    features[:, 0] = 4. * kind - 2 + 0.5 * features[:, 0]
    noise = torch.randn(images, len(LATENCY), generator=draw)
    latency = LATENCY * (1 + 0.02 * noise)
    return [dict(
        image=i, image_id=f'{i}.jpg', scale=KNOBS[0]['values'][s // 2],
        blocks=KNOBS[1]['values'][s % 2], latency_ms=latency[i, s].item(),
        quality=QUALITY[kind[i], s].item(), difficulty=f'type {kind[i]}',
        feature=features[i].tolist() if s == 0 else None)
        for i in range(images) for s in range(len(LATENCY))]


@pytest.fixture
def write_profile(tmp_path: Path) -> Callable[..., Path]:
    """Write some rows, by default a synthetic profile of 200 images."""

    def write(rows: list[dict] | None = None, kind: str = 'complete',
              knobs: list[dict] = KNOBS) -> Path:
        path = tmp_path / 'profile.parquet'
        write_table(path, TableHeader(kind, knobs), (
            synthetic_rows(200) if rows is None else rows))
        return path

    return write


@pytest.fixture
def profile_rows() -> Callable[..., list[dict]]:
    """See :func:`synthetic_rows`."""
    return synthetic_rows


@pytest.fixture
def profile(write_profile: Callable[..., Path]) -> ProfileTable:
    """200 images."""
    return ProfileTable.read(write_profile(), 'complete')


# -- a model at run time ------------------------------------------------------

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
            median, torch.full((settings, ), 1.5),
            torch.zeros(header.feature_dim),
            torch.zeros(header.feature_dim, settings), 0.9))
        self.order = torch.zeros(settings)
        for place, setting in enumerate(preferred):
            self.order[setting] = settings - place

    def scores(self, features, context, budget_ms):
        return self.order.expand(len(features), -1)


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
            knobs=tiny_parts.space.header(), feature_dim=8, context_dim=0,
            overhead_ms=overhead_ms, budgets=(2, 20),
            feature=tiny_parts.feature.describe(), **header), list(preferred))

    return build
