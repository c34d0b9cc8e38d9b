"""Do rewards rank the subsets of levels as trainings do?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from mmrlkd.distillation.selection.environment import subset_costs
from mmrlkd.structures import LevelSpace

from .front import subset_name


@dataclass(frozen=True)
class Ranking:
    """How one reward ranks the subsets.

    Attributes:
        reward: its name.
        efficiency: λ.
        correlation: Spearman's ρ of its mean over images with the quality
            measured; NaN where the reward is the same for all subsets.
        best: name of the subset that it likes best.
        worth: its mean over images, by the subset's name.
    """
    reward: str
    efficiency: float
    correlation: float
    best: str
    worth: dict[str, float]


def measured_quality(table: pd.DataFrame,
                     levels: Sequence[str]) -> dict[int, float]:
    """Mean quality over seeds of each fixed subset, by its index.

    Args:
        table: of results, see :func:`.results.read_results`.
        levels: of the pair, finest first.

    Raises:
        ValueError: fewer than three subsets of these levels are there.
    """
    fixed = table[table.subset.fillna('') != '']
    means = fixed.groupby('subset').quality.mean()
    found = {index: float(means[name]) for index, name in _names(levels).items()
             if name in means}
    if len(found) < 3:
        raise ValueError(
            f'it has {len(found)} fixed subsets of the levels '
            f'{" ".join(levels)}; accepted: three or more, as tools/compare.py '
            'trains them for the front.')
    return found


def rank_subsets(gains: Mapping[str, Tensor], space: LevelSpace,
                 quality: Mapping[int, float],
                 efficiencies: Sequence[float]) -> list[Ranking]:
    """Compare rewards with what was measured.

    Args:
        gains: (N, 2^L) by the reward's name, of N images.
        space: the levels.
        quality: see :func:`measured_quality`.
        efficiencies: values of λ.
    """
    costs = subset_costs(space.costs)
    names, index = _names(space.names), list(quality)
    rankings = []
    for reward, each in gains.items():
        mean = each.double().cpu().mean(dim=0)
        for efficiency in efficiencies:
            worth = (mean - efficiency * costs / costs[-1])[index]
            rho = float('nan')
            if len(worth.unique()) > 1:
                rho = float(spearmanr(
                    worth.numpy(), list(quality.values())).statistic)
            rankings.append(Ranking(
                reward, efficiency, rho, names[index[int(worth.argmax())]],
                {names[i]: float(value) for i, value in zip(
                    index, worth, strict=True)}))
    return rankings


def normalised(gains: Tensor) -> Tensor:
    """Gains (N, 2^L) in units of what all levels gain, mean over images."""
    unit = gains[:, -1].abs().mean()
    return gains / unit.clamp(min=torch.finfo(gains.dtype).tiny)


def _names(levels: Sequence[str]) -> dict[int, str]:
    """Names of the subsets that are not empty, by their index."""
    return {index: subset_name([level for i, level in enumerate(levels)
                                if index >> i & 1])
            for index in range(1, 1 << len(levels))}
