"""An upper bound on what a choice by image can gain, before any training.

N images, S = 2^L subsets of levels, D numbers in a state. All comparisons are
at equal mean cost. Gains are in units of the mean gain of each image's best
subset at any cost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.recording import record_images, warmed_up
from mmrlkd.distillation.selection.environment import subset_costs, within_budget
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.distillation.selection.selectors.static import tilted
from mmrlkd.structures import LevelSpace

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Half a 95 % interval, in standard errors; images are many.
NORMAL = 1.96


@dataclass(frozen=True)
class Moment:
    """States and gains of the images at one moment of the training.

    Attributes:
        name: such as ``'iteration 200'``.
        states: (A, N, D), under A >= 2 augmentations of the images.
        gains: (A, N, S), of each subset over the empty one.
    """
    name: str
    states: Array
    gains: Array


@dataclass(frozen=True)
class Row:
    """Gains at one mean cost, of several ways to choose; means over images and
    moments.

    Attributes:
        cost: mean cost of an image.
        random: random subsets, drawn with the largest entropy.
        fixed: the best subset of no greater cost, for all images.
        subset: names of its levels, at the last moment.
        mixture: the best lottery over subsets, the same for all images: the
            most that is possible without looking at the image.
        told: the choice by the gains that a ridge regression predicts from the
            state, cross-validated.
        repeated: the choice by the gains of the image under another
            augmentation: how much the noise of the gains leaves.
        optimum: the best choice by image. It fits the noise, too, so it is
            larger than any policy can reach; compare with ``repeated``.
        above: ``told`` − ``mixture``.
        half_width: of its 95 % interval, over images.
    """
    cost: float
    random: float
    fixed: float
    subset: tuple[str, ...]
    mixture: float
    told: float
    repeated: float
    optimum: float
    above: float
    half_width: float

    @property
    def worth(self) -> bool:
        """Whether a policy is worth trying at this mean cost."""
        return self.above - self.half_width > 0


@dataclass(frozen=True)
class Headroom:
    """The analysis of some moments.

    Attributes:
        rows: by mean cost.
        reliability: of each level, Spearman's correlation between its gains
            under two augmentations of the same images; mean over moments.
        explained: of each level, share of its gains' variance that the state
            explains, cross-validated; mean over moments.
        unit: of each moment, by name: the gain that is 1 in the rows.
        images: number of them.
    """
    rows: tuple[Row, ...]
    reliability: dict[str, float]
    explained: dict[str, float]
    unit: dict[str, float]
    images: int


def record_moment(model: PyramidDistiller, reward: Reward, name: str,
                  warm_up: Iterable[Any],
                  augmentations: Iterable[Iterable[Any]]) -> Moment:
    """A moment of the training, for :func:`analyse`.

    Args:
        model: the distiller at that moment.
        reward: computes the gains; a copy is used.
        name: of the moment.
        warm_up: batches that the reward's running means move towards.
        augmentations: batches of the same images in the same order, once for
            each augmentation.

    Raises:
        ValueError: a state or a gain is not finite.
    """
    reward = warmed_up(model, reward, warm_up)
    recordings = [record_images(model, reward, batches)
                  for batches in augmentations]
    moment = Moment(name, *(
        np.stack([part.double().numpy() for part in parts]) for parts in (
            [torch.cat([each.global_feature, each.level_features,
                        each.context], 1) for each in recordings],
            [each.gains for each in recordings])))
    if not (np.isfinite(moment.states).all()
            and np.isfinite(moment.gains).all()):
        raise ValueError(
            f'{name}: states or gains of some images are not finite; '
            'accepted: a student that has not diverged.')
    return moment


@dataclass(frozen=True)
class Allocation:
    """A random choice of a subset for each image, at an exact mean cost.

    An image gets its subset of ``dear`` with probability ``share``, else that of
    ``cheap``. The two differ in few images.

    Attributes:
        cheap: (N,) subset indices, of a mean cost below the budget.
        dear: (N,) subset indices, of a mean cost above it.
        share: probability of ``dear``, in [0, 1].
    """
    cheap: Indices
    dear: Indices
    share: float

    def value(self, gains: Array) -> Array:
        """(N,) expected gain of each image, by its ``gains`` (N, S)."""
        rows = np.arange(len(gains))
        return (self.share * gains[rows, self.dear]
                + (1 - self.share) * gains[rows, self.cheap])


def allocate(gains: Array, costs: Array, budget: float) -> Allocation:
    """The choice by image of the largest mean gain, at the mean cost ``budget``.

    Lagrangian relaxation: each image takes argmax_s gain_s − λ·cost_s, and λ
    is bisected until the mean cost is the budget. A mixture of the choices with
    costs just above and just below it solves the linear programme exactly
    (Everett, 1963, https://doi.org/10.1287/opre.11.3.399).

    Args:
        gains: (N, S), −inf for subsets that must not be chosen.
        costs: (S,).
        budget: at least the cost of the cheapest subset.

    Raises:
        ValueError: no choice is that cheap.
    """
    allowed = np.isfinite(gains).any(0)
    if budget < costs[allowed].min() * (1 - 1e-9):
        raise ValueError(
            f'mean cost={budget}; accepted: at least {costs[allowed].min():g}, '
            'the cost of the cheapest subset.')
    # Of equal gains argmax takes the first, which should be the cheapest.
    order = np.argsort(costs, kind='stable')
    sorted_gains, sorted_costs = gains[:, order], costs[order]

    def choose(price: float) -> Indices:
        return order[(sorted_gains - price * sorted_costs).argmax(1)]

    def cost(choice: Indices) -> float:
        return float(costs[choice].mean())

    free = choose(0.0)
    if cost(free) <= budget * (1 + 1e-9):
        return Allocation(free, free, 1.0)
    low, high = 0.0, 1.0
    while cost(choose(high)) > budget * (1 + 1e-9):
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if cost(choose(middle)) > budget * (1 + 1e-9):
            low = middle
        else:
            high = middle
    cheap, dear = choose(high), choose(low)
    spread = cost(dear) - cost(cheap)
    share = (budget - cost(cheap)) / spread if spread > 0 else 0.0
    return Allocation(cheap, dear, float(np.clip(share, 0, 1)))


def best_mixture(gains: Array, costs: Array, budget: float) -> Array:
    """(S,) probabilities of the best lottery over subsets that all images
    share, with a mean cost of at most ``budget``."""
    one = allocate(gains.mean(0, keepdims=True), costs, budget)
    probabilities = np.zeros(len(costs))
    probabilities[one.cheap[0]] += 1 - one.share
    probabilities[one.dear[0]] += one.share
    return probabilities


def predict(states: Array, gains: Array, folds: int = 5,
            seed: int = 0) -> Array:
    """Gains that a ridge regression predicts from the states, by
    cross-validation: no image is predicted from itself.

    Args:
        states: (A, N, D); the A augmentations of an image stay in one fold.
        gains: (A, N, K).
        folds: parts that the images are divided into.
        seed: of the division.

    Returns:
        (N, K), for the first augmentation of each image.
    """
    images = states.shape[1]
    part = np.random.default_rng(seed).permutation(images) % folds
    predicted = np.empty((images, gains.shape[-1]))
    for fold in range(folds):
        train, test = part != fold, part == fold
        predicted[test] = _ridge(
            states[:, train].reshape(-1, states.shape[-1]),
            gains[:, train].reshape(-1, gains.shape[-1]), states[0, test])
    return predicted


def _ridge(x: Array, y: Array, new: Array) -> Array:
    """Ridge regression of ``y`` (n, K) on standardised ``x`` (n, D), for the
    rows ``new``. The penalty minimises the generalised cross-validation error
    (Golub et al., 1979, https://doi.org/10.1080/00401706.1979.10489751)."""
    mean, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    centre, scale = y.mean(0), y.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    u, singular, v = np.linalg.svd((x - mean) / spread, full_matrices=False)
    projected = u.T @ ((y - centre) / scale)
    total = (((y - centre) / scale)**2).sum()
    best, filtered = np.inf, projected
    for penalty in np.logspace(-3, 3, 25) * len(x):
        kept = singular**2 / (singular**2 + penalty)
        residual = total - ((1 - (1 - kept)**2)[:, None] * projected**2).sum()
        error = residual / (len(x) - 1 - kept.sum())**2
        if error < best:
            best = error
            filtered = (kept / np.maximum(singular, 1e-12))[:, None] * projected
    return ((new - mean) / spread) @ (v.T @ filtered) * scale + centre


def spearman(x: Array, y: Array) -> float:
    """Rank correlation; 0 where one of them is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)


def explained_variance(true: Array, predicted: Array) -> float:
    """R², 0 where there is no variance."""
    total = ((true - true.mean())**2).sum()
    return float(1 - ((true - predicted)**2).sum() / total) if total > 0 else 0.0


def choices(space: LevelSpace) -> tuple[Array, NDArray[np.bool_]]:
    """The cost of each subset, and which an image may have: (S,) both."""
    costs = subset_costs(space.costs)
    allowed = within_budget(costs, space).numpy()
    allowed[0] = not space.min_levels
    return costs.numpy(), allowed


def mean_costs(space: LevelSpace, asked: Sequence[float] | None,
               option: str = '--costs') -> list[float]:
    """The mean costs to compare at.

    Args:
        space: of the levels.
        asked: for; None for eighths of what all levels cost, from the cheapest
            subset on.
        option: of the command line, for messages.

    Raises:
        ValueError: no choice has such a mean cost.
    """
    costs, allowed = choices(space)
    low, high = costs[allowed].min(), costs[allowed].max()
    if asked is None:
        return [float(each) for each in costs[-1] * np.arange(1, 9) / 8
                if low <= each <= high]
    for cost in asked:
        if not low <= cost <= high:
            raise ValueError(
                f'{option} {cost:g}; accepted: mean costs that choices of '
                f'{", ".join(space.names)} can have, {low:g} to {high:g}.')
    return list(asked)


def analyse(moments: Sequence[Moment], space: LevelSpace,
            budgets: Sequence[float] | None = None, seed: int = 0) -> Headroom:
    """Compare what can be gained at each mean cost.

    Args:
        moments: of the same images.
        space: the levels; its per-image budget and ``min_levels`` hold.
        budgets: see :func:`mean_costs`.
        seed: of the folds.
    """
    costs, allowed = choices(space)
    budgets = mean_costs(space, budgets)
    units, parts = {}, []
    predictions = [predict(moment.states, moment.gains, seed=seed)
                   for moment in moments]
    for moment in moments:
        unit = np.maximum(moment.gains[0], 0)[:, allowed].max(1).mean()
        units[moment.name] = float(unit)
    for budget in budgets:
        parts.append([
            _compare(moment.gains, predicted, costs, allowed, budget,
                     units[moment.name] or 1.0)
            for moment, predicted in zip(moments, predictions, strict=True)])
    levels = range(len(space))
    return Headroom(
        rows=tuple(_row(budget, part, space)
                   for budget, part in zip(budgets, parts, strict=True)),
        reliability={space.names[i]: float(np.mean([
            spearman(moment.gains[0, :, 1 << i], moment.gains[1, :, 1 << i])
            for moment in moments])) for i in levels},
        explained={space.names[i]: float(np.mean([
            explained_variance(moment.gains[0, :, 1 << i], predicted[:, 1 << i])
            for moment, predicted in zip(moments, predictions, strict=True)]))
            for i in levels},
        unit=units, images=moments[0].gains.shape[1])


def _compare(gains: Array, predicted: Array, costs: Array,
             allowed: NDArray[np.bool_], budget: float,
             unit: float) -> dict[str, Any]:
    """Gains (N,) of each way to choose, by the name of its field in
    :class:`Row`, at one mean cost and moment, divided by ``unit``."""
    first, second = (np.where(allowed, each, -np.inf) for each in gains[:2])
    true = gains[0] / unit
    affordable = np.where(allowed & (costs <= budget * (1 + 1e-9)),
                          gains[0].mean(0), -np.inf)
    subset = int(affordable.argmax())
    mixture = best_mixture(first, costs, budget)
    probabilities = np.zeros(len(costs))
    dearest = costs[allowed].max()
    probabilities[allowed] = tilted(
        torch.from_numpy(costs[allowed] / dearest), budget / dearest).numpy()
    return dict(
        random=true @ probabilities,
        fixed=true[:, subset],
        subset=subset,
        mixture=true @ mixture,
        told=allocate(np.where(allowed, predicted, -np.inf), costs,
                      budget).value(true),
        repeated=allocate(second, costs, budget).value(true),
        optimum=allocate(first, costs, budget).value(true))


def _row(budget: float, parts: list[dict[str, Any]],
         space: LevelSpace) -> Row:
    """Means over moments and images, with the interval over images."""
    mean = {key: np.mean([part[key] for part in parts], axis=0)
            for key in parts[0] if key != 'subset'}
    difference = mean['told'] - mean['mixture']
    subset = parts[-1]['subset']
    return Row(
        cost=float(budget),
        subset=tuple(name for i, name in enumerate(space.names)
                     if subset >> i & 1),
        above=float(difference.mean()),
        half_width=float(NORMAL * difference.std(ddof=1)
                         / len(difference)**0.5),
        **{key: float(value.mean()) for key, value in mean.items()})
