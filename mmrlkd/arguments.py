"""Checks of arguments that come from a config, with one form of message.

Each function returns the value that it was given, or raises a ValueError that
reads ``Owner: key=value; accepted: …``. The owner is the class or the config
section whose argument it is. Nothing here imports torch.
"""

from collections.abc import Collection
from math import inf, isfinite
from numbers import Integral, Real
from typing import Literal, NoReturn, TypeVar

Value = TypeVar('Value')


def refuse(owner: str, key: str, value: object, accepted: str) -> NoReturn:
    """Raise a ValueError with the message.

    Args:
        owner: the class or the config section whose argument it is.
        key: name of the argument, with dots and brackets where it is nested.
        value: what was given.
        accepted: what would be accepted, without a full stop.
    """
    raise ValueError(f'{owner}: {key}={value!r}; accepted: {accepted}.')


def check_number(owner: str, key: str, value: float, low: float = -inf,
                 high: float = inf,
                 open: Literal['', 'low', 'high', 'both'] = '') -> float:
    """A finite number between two bounds.

    Args:
        owner: see :func:`refuse`.
        key: likewise.
        value: likewise.
        low: smallest number; -inf for none.
        high: largest number; inf for none.
        open: which of the bounds are excluded.
    """
    if not (_is(value, Real) and isfinite(value)
            and (low < value if open in ('low', 'both') else low <= value)
            and (value < high if open in ('high', 'both') else value <= high)):
        refuse(owner, key, value,
               'a ' + _interval('number', low, high, open))
    return value


def check_integer(owner: str, key: str, value: int, low: float = -inf,
                  high: float = inf) -> int:
    """An integer between two bounds, both included; see
    :func:`check_number`."""
    if not (_is(value, Integral) and low <= value <= high):
        refuse(owner, key, value, 'an ' + _interval('integer', low, high, ''))
    return value


def check_bool(owner: str, key: str, value: bool) -> bool:
    """True or False; 0, 1 and strings are refused."""
    if not isinstance(value, bool):
        refuse(owner, key, value, 'True or False')
    return value


def check_choice(owner: str, key: str, value: Value,
                 choices: Collection[Value]) -> Value:
    """One of some values."""
    if value not in choices:
        refuse(owner, key, value, ', '.join(map(repr, choices)))
    return value


def _is(value: object, kind: type) -> bool:
    """Whether a value is a number; True, which is an int in Python, is not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _interval(noun: str, low: float, high: float, open: str) -> str:
    """The interval in words, e.g. ``number in (0, 1]``."""
    open_low, open_high = open in ('low', 'both'), open in ('high', 'both')
    if isfinite(low) and isfinite(high):
        left, right = '[('[open_low], '])'[open_high]
        return f'{noun} in {left}{low}, {high}{right}'
    if isfinite(low):
        return f'{noun} {">" if open_low else ">="} {low}'
    if isfinite(high):
        return f'{noun} {"<" if open_high else "<="} {high}'
    return f'finite {noun}' if noun == 'number' else noun
