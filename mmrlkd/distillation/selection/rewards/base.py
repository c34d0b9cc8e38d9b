"""The interface of rewards: the gain of every subset of levels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse
from mmrlkd.rl import subset_table
from mmrlkd.structures import LevelSpace, Signals

from .stream import StreamMean


class Reward(nn.Module, ABC):
    r"""R(x, s) = G(x, s) / u − λ · Σ_{i ∈ s} cost_i / Σ_i cost_i.

    G is the gain of selecting the levels ``s`` for image ``x`` over selecting
    none. The unit ``u`` is the running mean of max_s \|G(x, s)\| over the
    training images, that is, of the gain of the best subset where no subset
    loses more than that. There is one unit for all images and levels: an image
    with twice the gain has twice the reward, so that the budget goes to such
    images. λ is the cost of the full pyramid in that unit.

    A reward computes G / u; the selector subtracts the cost, because it may
    change λ. The reward of a step is the difference in R between the subsets
    after and before it, so the rewards of an episode sum to R of its last
    subset.

    Args:
        efficiency: λ ≥ 0, weight of the cost; 0 rewards quality only.
    """

    #: Whether it calls :meth:`Signals.alignment` or :meth:`Signals.after_step`,
    #: which need gradients at the student's maps.
    needs_gradients: bool = False
    #: Names of the descriptors that it asks :meth:`Signals.describe` for.
    descriptors: tuple[str, ...] = ()

    def __init__(self, efficiency: float = 0.5) -> None:
        super().__init__()
        self.efficiency = check_number(
            type(self).__name__, 'efficiency', efficiency, 0)
        self.stream = StreamMean()

    def bind(self, space: LevelSpace) -> None:
        """Store the levels.

        Raises:
            ValueError: an option does not fit them.
        """

    @abstractmethod
    def raw_gains(self, signals: Signals) -> Tensor:
        """(B, 2^L), G of each subset of levels; 0 for the empty one."""

    def gains(self, signals: Signals, update: bool = False) -> Tensor:
        """(B, 2^L), G / u of each subset of levels, without cost. Where the
        signals are not finite the gains are not, and learners drop the image.

        Args:
            signals: of the batch.
            update: first move the running means towards the batch. All ranks
                must do so once in each iteration that is learned from.
        """
        raw = self.raw_gains(signals).detach()
        if update:
            self.stream.update(raw.abs().amax(-1))
        return raw / self.stream.unit


class AdditiveReward(Reward):
    """G is a sum over the selected levels: G(x, s) = Σ_{i ∈ s} g_i(x).

    By default g_i is the signal of the level. With ``level_values`` it is
    v_i · signal_i(x) / E|signal_i|, with the running mean of that level over
    the training images: the level's measured value, times the image's signal
    relative to the mean. Such a value is measured with the level distilled
    alone, at the full weight of the image. So g_i is multiplied by the weight
    of the level in the subset, relative to that weight: under
    ``normalize='image'`` G is the *mean* of g_i.

    Args:
        level_values: v_i by the level's name, or a number for each level,
            finest first; negative for a level that lowers the metric. None
            takes the signals as they are.
        efficiency: see :class:`Reward`.
    """

    level_values: Tensor
    #: Whether g_i was measured with the level distilled alone.
    worth_of_weight = False

    def __init__(self, level_values: Mapping[str, float] | Sequence[float]
                 | None = None, efficiency: float = 0.5) -> None:
        super().__init__(efficiency)
        self._given_values = None if level_values is None else (
            check_level_values(type(self).__name__, level_values))
        if self._given_values is not None and not isinstance(
                self._given_values, dict):
            self._set_values(self._given_values)

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self._space = space
        given = self._given_values
        if given is None:
            return
        owner = type(self).__name__
        if isinstance(given, dict):
            if set(given) != set(space.names):
                refuse(owner, 'level_values', given,
                       f'a number for each of the levels {list(space.names)}')
            given = [given[name] for name in space.names]
        elif len(given) != len(space):
            refuse(owner, 'level_values', given,
                   f'{len(space)} numbers, for {list(space.names)}')
        self._set_values(given)

    def _set_values(self, values: Sequence[float]) -> None:
        self.register_buffer(
            'level_values', torch.tensor(values, dtype=torch.float32),
            persistent=False)
        self.level_stream = StreamMean(len(values))
        self.worth_of_weight = True

    @abstractmethod
    def level_signals(self, signals: Signals) -> Tensor:
        """(B, L), the signal of each level for the image, in any unit."""

    def level_gains(self, signals: Signals) -> Tensor:
        """(B, L), g_i of each level, in one unit for all levels."""
        own = self.level_signals(signals).detach().float()
        if self._given_values is None:
            return own
        return self.level_values * own / self.level_stream.unit

    def raw_gains(self, signals: Signals) -> Tensor:
        # (B, 1, L) where (2^L, L) gives the gain of each member of each subset.
        each = self.level_gains(signals)
        table = subset_table(each.shape[1], each.device)
        gains = each[:, None].where(table, 0.)
        if self.worth_of_weight:
            # Weight of each level if it is selected alone: 1, or 1/L with
            # normalize='none'.
            alone = self._space.weights(torch.eye(
                each.shape[1], dtype=torch.bool, device=each.device)).amax(-1)
            gains = gains * (self._space.weights(table) / alone)
        return gains.sum(-1)

    def gains(self, signals: Signals, update: bool = False) -> Tensor:
        if update and self._given_values is not None:
            self.level_stream.update(self.level_signals(signals).abs())
        return super().gains(signals, update)


def check_level_values(
        owner: str, values: Mapping[str, float] | Sequence[float]
        ) -> dict[str, float] | list[float]:
    """Check that ``values`` are finite numbers, by level or in order, of which
    at least one is not 0."""
    if isinstance(values, Mapping):
        by_name = {name: float(check_number(
            owner, f'level_values[{name!r}]', value))
            for name, value in values.items()}
        numbers = list(by_name.values())
    elif isinstance(values, Sequence) and not isinstance(values, str):
        by_name = None
        numbers = [float(check_number(owner, f'level_values[{i}]', value))
                   for i, value in enumerate(values)]
    else:
        refuse(owner, 'level_values', values,
               'a number for each level, in a list or by name')
    if not any(numbers):
        refuse(owner, 'level_values', values,
               'numbers of which at least one is not 0')
    return numbers if by_name is None else by_name
