"""Attributes of an object that are replaced for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def patched(target: Any, **attributes: Any) -> Iterator[None]:
    """Inside this block, an object's attributes have other values.

    A method is replaced in the object itself, so that its class, and other
    objects of it, keep theirs. Everything is restored at the end, also after an
    exception. Not safe for two threads that use one object.

    Args:
        target: the object, such as a module.
        attributes: new values. None of them is a parameter or a submodule.
    """
    own = vars(target)
    before = {name: own[name] for name in attributes if name in own}
    try:
        for name, value in attributes.items():
            setattr(target, name, value)
        yield
    finally:
        for name in attributes:
            if name in before:
                setattr(target, name, before[name])
            else:
                own.pop(name, None)
