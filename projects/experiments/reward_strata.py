"""What rewards give to groups of images, and what those gain by training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from torch import Tensor

from mmrlkd.distillation.selection.environment import subset_costs
from mmrlkd.structures import LevelSpace

from .front import all_subsets, subset_name
from .headroom import allocate
from .runs import TEACHER

PREFIX = 'stratum/'


@dataclass(frozen=True)
class StratumShare:
    """What one reward gives to one stratum of the images.

    Attributes:
        reward: its name.
        stratum: its name.
        images: share of the images that are in it.
        gain: share of what all images would gain, each by its best subset.
        cost: share of the budget, where the choice by image of the largest
            gain is made at a mean cost.
    """
    reward: str
    stratum: str
    images: float
    gain: float
    cost: float


def measured_gains(table: pd.DataFrame, levels: Sequence[str]
                   ) -> dict[tuple[int, str], float]:
    """What each fixed subset adds to the student alone, by (index of the
    subset, stratum): means over the seeds. Empty without the student alone, or
    without strata.

    Args:
        table: of a study or of a comparison.
        levels: of the pair, finest first.
    """
    names = table['entry'] if 'entry' in table else table['method']
    alone = table[(table.distill_cost == 0) & (names != TEACHER)]
    fixed = table[table.subset.fillna('') != '']
    index = {subset_name(each): sum(1 << levels.index(name) for name in each)
             for each in all_subsets(levels)}
    found = {}
    for column in table:
        if not column.startswith(PREFIX) or alone[column].isna().all():
            continue
        means = fixed.groupby('subset')[column].mean().dropna()
        for name, value in means.items():
            if name in index:
                found[index[name], column.removeprefix(PREFIX)] = float(
                    value - alone[column].mean())
    return found


def cell_correlation(gains: Tensor, strata: Mapping[str, Sequence[int]],
                     measured: Mapping[tuple[int, str], float]
                     ) -> tuple[float, float]:
    """Does a reward rank (subset, stratum) as trainings do?

    Args:
        gains: (N, 2^L) of N images.
        strata: rows of ``gains`` in each stratum, by name.
        measured: see :func:`measured_gains`.

    Returns:
        Spearman's ρ over all cells, and that over the strata, which tells
        whether the right images gain most from the same levels, mean over the
        subsets. NaN where there are fewer than three to rank, or all are equal.
    """
    cells = {(index, name): float(gains[list(strata[name]), index].mean())
             for index, name in measured if len(strata.get(name, ()))}

    def rho(keys: Sequence[tuple[int, str]]) -> float:
        said = [cells[key] for key in keys]
        if len(keys) < 3 or len({*said}) == 1:
            return float('nan')
        return float(spearmanr(said, [measured[key] for key in keys]).statistic)

    within = [rho([key for key in cells if key[0] == index])
              for index in {index for index, _ in cells}]
    told = [each for each in within if not np.isnan(each)]
    return rho(list(cells)), float(np.mean(told)) if told else float('nan')


def shares(gains: Mapping[str, Tensor], strata: Mapping[str, Sequence[int]],
           space: LevelSpace, mean_cost: float) -> list[StratumShare]:
    """What each reward gives to each stratum.

    Args:
        gains: (N, 2^L) by the reward's name.
        strata: rows of ``gains`` in each stratum, by name.
        space: the levels.
        mean_cost: of the choice by image.
    """
    costs = subset_costs(space.costs).numpy()
    found = []
    for reward, each in gains.items():
        values = each.double().cpu().numpy()
        if space.min_levels:
            values[:, 0] = -np.inf
        best = np.maximum(values.max(1), 0)
        chosen = allocate(values, costs, mean_cost)
        spent = (chosen.share * costs[chosen.dear]
                 + (1 - chosen.share) * costs[chosen.cheap])
        for stratum, rows in strata.items():
            part = list(rows)
            found.append(StratumShare(
                reward, stratum, len(part) / len(values),
                float(best[part].sum() / max(best.sum(), 1e-12)),
                float(spent[part].sum() / max(spent.sum(), 1e-12))))
    return found
