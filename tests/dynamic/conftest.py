"""A table whose best settings are known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmrlkd.dynamic.table import ProfileTable, TableHeader, write_table

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
