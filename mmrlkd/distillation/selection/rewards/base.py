"""The reward of a selection: what it gains, less what it costs."""

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
    none, and the unit ``u`` the running mean of max_s \|G(x, s)\| over the
    stream of images: of what the best subset gains, which is all levels where
    none of them harms. There is one unit for all images and levels: an image
    that gains twice as much is rewarded twice as much, so that a budget can
    flow to it, and λ is what the full pyramid may cost in that unit.

    A reward says what is gained; who chooses takes off the cost. A step is
    rewarded by the difference that it makes, so the rewards of an episode sum
    to R of what it selected.

    Args:
        efficiency: λ ≥ 0, weight of the cost; 0 rewards quality only.
    """

    #: Whether :meth:`Signals.alignment` or :meth:`Signals.after_step` is
    #: asked, which need gradients at the student's maps.
    needs_gradients: bool = False
    #: Names of the descriptors that :meth:`Signals.describe` is asked for.
    descriptors: tuple[str, ...] = ()

    def __init__(self, efficiency: float = 0.5) -> None:
        super().__init__()
        self.efficiency = check_number(
            type(self).__name__, 'efficiency', efficiency, 0)
        self.stream = StreamMean()

    def bind(self, space: LevelSpace) -> None:
        """Get to know the levels; raise a ValueError where options do not fit
        them."""

    @abstractmethod
    def raw_gains(self, signals: Signals) -> Tensor:
        """(B, 2^L), G of each subset of levels; 0 for the empty one."""

    def gains(self, signals: Signals, update: bool = False) -> Tensor:
        """(B, 2^L), G / u of each subset of levels; no cost is in it. Not
        finite where the signals are not: learners drop such images.

        Args:
            signals: of the batch.
            update: move the running means towards the batch first; once in
                each iteration that is learned from, on all ranks.
        """
        raw = self.raw_gains(signals).detach()
        if update:
            self.stream.update(raw.abs().amax(-1))
        return raw / self.stream.unit


class AdditiveReward(Reward):
    """G is a sum over the selected levels: G(x, s) = Σ_{i ∈ s} g_i(x).

    By default g_i is the level's signal as it is. With ``level_values`` it is
    v_i · signal_i(x) / E|signal_i|, the mean being the level's own over the
    stream: what the level is worth in the long run, times how much this image
    has of it. Such a worth is that of the level's weight where it is distilled
    alone, and falls with it: under ``normalize='image'`` G is then the *mean*
    of g_i, as the weights of an image sum to one whatever is selected.

    Args:
        level_values: v_i by the level's name, or a number for each level,
            finest first; negative where a level harms. None takes signals as
            they are.
        efficiency: see :class:`Reward`.
    """

    level_values: Tensor
    #: Whether g_i is the worth of distilling the level alone.
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
        """(B, L), what each level has to give the image, in any unit."""

    def level_gains(self, signals: Signals) -> Tensor:
        """(B, L), g_i of each level, in one unit for all levels."""
        own = self.level_signals(signals).detach().float()
        if self._given_values is None:
            return own
        return self.level_values * own / self.level_stream.unit

    def raw_gains(self, signals: Signals) -> Tensor:
        each = self.level_gains(signals)
        table = subset_table(each.shape[1], each.device)
        gains = each[:, None].where(table, 0.)
        if self.worth_of_weight:
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
    """Finite numbers by level or in order, not all of them 0."""
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
