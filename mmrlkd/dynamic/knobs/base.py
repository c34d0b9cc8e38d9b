"""The interface of knobs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from torch import nn

from mmrlkd.arguments import refuse

#: What a table's column holds.
Value = float | int | str


class Knob(ABC):
    """One way of running a built model cheaper or dearer than it is.

    A knob changes how a model runs inside ``with knob.set(choice):`` and nothing
    else: it does not rebuild the model, its weights and its config stay as they
    are, and at the end of the block the model is as it was before, also after an
    exception. It acts on what ``model.test_step(data)``, ``model.val_step(data)``
    and ``model(**batch, mode='predict')`` do. One model cannot be used by two
    threads inside such a block.

    Attributes:
        name: of the knob; a column of the profile's table.
        values: what can be chosen, in ascending order of cost.
        full: index of the value at which the model is not modified: its
            predictions are the model's own, to the bit.
        outermost: whether the knob is set after others, around them: it cuts
            the image into pieces that other knobs act on.
    """

    name: str
    outermost: ClassVar[bool] = False
    values: tuple[Value, ...]
    full: int

    @abstractmethod
    def bind(self, model: nn.Module) -> None:
        """Look up in a model what the knob acts on.

        Args:
            model: a built model of mmdet, mmseg or mmpretrain.

        Raises:
            ValueError: the knob or its values do not fit the model; the message
                says what would.
        """

    @abstractmethod
    def set(self, choice: int) -> AbstractContextManager[None]:
        """Inside this block, the model that the knob is bound to runs with
        ``values[choice]``."""

    def input_scale(self, choice: int) -> float | None:
        """Factor by which a choice resizes the image that the model gets; None
        if the model gets other pictures than that one."""
        return 1.0

    def changed_modules(self, choice: int) -> Sequence[nn.Module]:
        """The modules of the backbone that a choice runs in another way."""
        return ()

    def _unfit(self, model: nn.Module, accepted: str) -> ValueError:
        """The error of a model that the knob cannot be bound to."""
        return ValueError(
            f'{type(self).__name__}: the model is a {type(model).__name__}, '
            f'which the knob {self.name!r} does not fit; accepted: {accepted}.')


class RecordedKnob(Knob):
    """A knob of which only name and values are known, from a table's header.

    Args:
        name: see :class:`Knob`.
        values: likewise.
        full: likewise; the last one by default.
    """

    def __init__(self, name: str, values: tuple[Value, ...],
                 full: int = -1) -> None:
        self.name = name
        self.values = tuple(values)
        self.full = range(len(self.values))[full]

    def bind(self, model: nn.Module) -> None:
        raise self._unfit(model, 'a knob that is built from a config')

    def set(self, choice: int) -> AbstractContextManager[None]:
        raise ValueError(
            f'knob {self.name!r} is known from a table only and acts on no '
            'model; accepted: a knob that is built from a config.')


def check_ascending(owner: str, key: str, values: tuple) -> None:
    """Refuse values that are not in strictly ascending order, or none.

    Raises:
        ValueError: they are not.
    """
    if not values or any(a >= b for a, b in zip(values, values[1:])):
        refuse(owner, key, values, 'numbers in ascending order, cheapest first')
