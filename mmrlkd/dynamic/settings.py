"""Settings: one value for each knob."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from math import prod
from typing import Any

from torch import nn

from mmrlkd.dynamic.knobs.base import Knob, RecordedKnob, Value
from mmrlkd.registry import KNOBS


class SettingSpace:
    """The product of some knobs' values.

    A *setting* is an integer below ``len(space)``: mixed radix, the last knob
    varies fastest, as the rows of a profile's table.

    Args:
        knobs: one of each name.

    Raises:
        ValueError: none, or two of one name.
    """

    def __init__(self, knobs: Sequence[Knob]) -> None:
        self.knobs = tuple(knobs)
        #: (K,) names of the knobs.
        self.names = tuple(knob.name for knob in self.knobs)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(
                f'knobs={self.names}; accepted: at least one, and one of each '
                'name.')
        #: (K,) number of values of each knob.
        self.sizes = tuple(len(knob.values) for knob in self.knobs)
        #: Of each setting that was set, the knobs that change something, in the
        #: order of setting them, and their choices.
        self._changes: dict[int, list[tuple[Knob, int]]] = {}
        #: The setting that leaves the model as it is.
        self.full = self.index([knob.full for knob in self.knobs])

    @classmethod
    def build(cls, configs: Sequence[dict[str, Any]]) -> 'SettingSpace':
        """That of knobs named by a config, such as
        ``[dict(type='mmrlkd.InputScale', scales=(0.5, 1.0))]``."""
        return cls([KNOBS.build(dict(each)) for each in configs])

    @classmethod
    def from_header(cls, knobs: Sequence[dict[str, Any]]) -> 'SettingSpace':
        """That of a table, whose header has what :meth:`header` returns."""
        return cls([RecordedKnob(**each) for each in knobs])

    def header(self) -> list[dict[str, Any]]:
        """Name, values and full choice of each knob, JSON-able."""
        return [dict(name=knob.name, values=list(knob.values), full=knob.full)
                for knob in self.knobs]

    def __len__(self) -> int:
        return prod(self.sizes)

    def choices(self, index: int) -> tuple[int, ...]:
        """(K,) which value each knob has in a setting."""
        if not 0 <= index < len(self):
            raise ValueError(
                f'setting {index}; accepted: 0 to {len(self) - 1}.')
        result = []
        for size in reversed(self.sizes):
            index, choice = divmod(index, size)
            result.append(choice)
        return tuple(reversed(result))

    def index(self, choices: Sequence[int]) -> int:
        """The setting of some choices (K,); inverse of :meth:`choices`."""
        index = 0
        for name, choice, size in zip(
                self.names, choices, self.sizes, strict=True):
            if not 0 <= choice < size:
                raise ValueError(f'choice {choice} of the knob {name!r}; '
                                 f'accepted: 0 to {size - 1}.')
            index = index * size + choice
        return index

    def values(self, index: int) -> dict[str, Value]:
        """The value of each knob in a setting, by the knob's name."""
        return {knob.name: knob.values[choice]
                for knob, choice in zip(self.knobs, self.choices(index))}

    def describe(self, index: int) -> str:
        """A setting in words, e.g. ``scale=0.5 blocks=2-2-2-2``."""
        return ' '.join(
            f'{name}={value}' for name, value in self.values(index).items())

    def input_scale(self, index: int) -> float | None:
        """Factor by which a setting resizes the image; None if the model gets
        other pictures than the resized image."""
        scale = 1.0
        for knob, choice in zip(self.knobs, self.choices(index)):
            factor = knob.input_scale(choice)
            if factor is None:
                return None
            scale *= factor
        return scale

    def bind(self, model: nn.Module) -> None:
        """Bind every knob to a model; see :meth:`.Knob.bind`."""
        for knob in self.knobs:
            knob.bind(model)

    def set(self, index: int) -> AbstractContextManager[None]:
        """Inside this block, the model that the knobs are bound to runs in a
        setting."""
        if index not in self._changes:
            pairs = zip(self.knobs, self.choices(index))
            self._changes[index] = sorted(
                (pair for pair in pairs if pair[1] != pair[0].full),
                key=lambda pair: pair[0].outermost)
        match self._changes[index]:
            case []:
                return nullcontext()
            case [(knob, choice)]:
                return knob.set(choice)
            case several:
                return _together(several)


@contextmanager
def _together(choices: Sequence[tuple[Knob, int]]) -> Iterator[None]:
    """Several knobs are set inside this block, in this order."""
    with ExitStack() as stack:
        for knob, choice in choices:
            stack.enter_context(knob.set(choice))
        yield
