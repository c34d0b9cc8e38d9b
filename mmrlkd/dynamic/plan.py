"""What the ``budget`` section of a config says of a controller's training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number, refuse

from .reward import BudgetReward
from .table import ProfileTable

_OWNER = 'budget'
#: Keys of the section that say what is profiled, see :class:`.parts.BudgetParts`.
_OTHERS = ('knobs', 'feature', 'quality')
#: Share of a table's images that a latency should be below, where one number is
#: to say what a setting takes.
_MOST = 0.97
#: The highest budget, as a multiple of what the dearest setting takes: enough for
#: it also where bounds are wide.
_AMPLE = 1.2
#: Time of a decision in ms, where nobody has measured it.
_DECIDING = 0.3


@dataclass(frozen=True)
class TrainingPlan:
    """How controllers are trained and compared.

    Attributes:
        controller: ``hidden`` and ``bins`` of :class:`.controller.Controller`.
        reward: fields of :class:`.reward.BudgetReward`.
        latency: ``quantile`` and ``ridge`` of
            :meth:`.latency.LatencyModel.fit`.
        algorithm: config of a learner of :mod:`mmrlkd.rl`: GRPO, REINFORCE or
            ExpectedReward. By default GRPO without ``scale_by_std``: where all
            settings are equally good, dividing by the deviation would make their
            differences of latency as large as the others' of quality.
        exact: arguments of :class:`~mmrlkd.rl.ExpectedReward`, which follows the
            exact gradient beside it, for comparison.
        logged: arguments of :class:`.logged.LoggedReward`, which takes the place
            of all three where the table is a log.
        updates: of the learner.
        images: that an update learns from, drawn without replacement.
        prior: strength of the supervised :func:`.warm_start.warm_start`, whose
            policy training starts from: it prefers what is best on average, and
            images change that where they are known to differ. 0 for none; settings
            start equal then, as they do of a log, which does not say what is best.
        noise: standard deviation of Gaussian noise on what is seen of an image,
            as a share of its own over the images, drawn anew for each update.
            It keeps a controller from learning few images by heart: to first
            order it is a penalty of the gradient (Bishop 1995,
            https://doi.org/10.1162/neco.1995.7.1.108).
        train_budgets: the budgets of each image in an update: how many, drawn
            log-uniformly over the profile's range, or a list of them in ms.
        test_budgets: the budgets of the comparison, likewise, but evenly spaced.
        held_out: share of the images that controllers are compared on.
        folds: parts of the training images by which is decided at which budgets
            looking pays, see :class:`.blind.BlindRule`: what controllers earn on
            each part that were trained on the others; 0 to look always.
        overhead_ms: time of a decision, in ms, which is part of the latency; None
            for what the profile measured.
    """
    controller: Mapping[str, Any] = field(default_factory=dict)
    reward: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    algorithm: Mapping[str, Any] = field(default_factory=lambda: dict(
        type='mmrlkd.GRPO', group_size=8, scale_by_std=False, lr=1e-3, epochs=2,
        minibatches=2))
    exact: Mapping[str, Any] = field(default_factory=lambda: dict(
        replay=1, steps=1, batch_size=None))
    logged: Mapping[str, Any] = field(default_factory=dict)
    updates: int = 300
    images: int = 32
    prior: float = 1.
    noise: float = 0.3
    train_budgets: int | Sequence[float] = 4
    test_budgets: int | Sequence[float] = 5
    held_out: float = 0.5
    folds: int = 4
    overhead_ms: float | None = None

    def __post_init__(self) -> None:
        check_integer(_OWNER, 'updates', self.updates, 1)
        check_integer(_OWNER, 'images', self.images, 1)
        check_number(_OWNER, 'held_out', self.held_out, 0, 1, open='both')
        if self.overhead_ms is not None:
            check_number(_OWNER, 'overhead_ms', self.overhead_ms, 0)
        if check_integer(_OWNER, 'folds', self.folds, 0) == 1:
            refuse(_OWNER, 'folds', 1, '0, or 2 and more')
        check_number(_OWNER, 'prior', self.prior, 0)
        check_number(_OWNER, 'noise', self.noise, 0)
        for name in ('train_budgets', 'test_budgets'):
            given = getattr(self, name)
            if isinstance(given, int):
                check_integer(_OWNER, name, given, 1)
            elif not given:
                refuse(_OWNER, name, given, 'a number >= 1, or budgets in ms')
            else:
                for each in given:
                    check_number(_OWNER, name, each, 0, open='low')
        BudgetReward(**self.reward)

    def overhead(self, table: ProfileTable) -> float:
        """Time of a decision, in ms."""
        given = table.deciding if self.overhead_ms is None else self.overhead_ms
        return _DECIDING if given is None else given

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Self:
        """That of a config's ``budget``, which may say more, such as the knobs.

        Raises:
            ValueError: a field is impossible, or not known.
        """
        known = {each.name for each in fields(cls)}
        unknown = set(section) - known - set(_OTHERS)
        if unknown:
            raise ValueError(
                f'budget has {sorted(unknown)}; accepted: '
                f'{", ".join([*_OTHERS, *sorted(known)])}.')
        try:
            return cls(**{key: value for key, value in section.items()
                          if key in known})
        except TypeError as error:
            raise ValueError(
                f'budget.reward: {error}; accepted: '
                f'{", ".join(each.name for each in fields(BudgetReward))}.'
            ) from error


def budget_range(table: ProfileTable, overhead_ms: float) -> tuple[float, float]:
    """From what the cheapest setting takes on most images, to more than the dearest
    one does, in ms, with the time of a decision."""
    most = torch.nanquantile(table.latency, _MOST, dim=0)
    most = most + overhead_ms + table.looking
    return most.min().item(), _AMPLE * most.max().item()


def drawn_budgets(plan: TrainingPlan, ends: tuple[float, float], images: int
                  ) -> Tensor:
    """(images, budgets) in ms, for an update."""
    if not isinstance(plan.train_budgets, int):
        return torch.tensor(plan.train_budgets, dtype=torch.float32).expand(
            images, -1)
    low, high = torch.tensor(ends).log()
    return (low + (high - low) * torch.rand(images, plan.train_budgets)).exp()


def compared_budgets(plan: TrainingPlan, ends: tuple[float, float]
                     ) -> list[float]:
    """The budgets of the comparison in ms. Of a number of them, the highest is
    what every setting fits into, and the lowest above what the cheapest one
    takes, where nothing is to be chosen."""
    if not isinstance(plan.test_budgets, int):
        return sorted(map(float, plan.test_budgets))
    low, high = torch.tensor(ends, dtype=torch.float64).log()
    share = torch.arange(1, plan.test_budgets + 1) / plan.test_budgets
    return [float(f'{each:.3g}') for each in
            (low + (high - low) * share).exp().tolist()]
