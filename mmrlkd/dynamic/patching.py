"""Attributes of objects that are replaced for a while."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any

_ABSENT = object()


class Patches:
    """Inside this block, attributes of objects have other values.

    A method is replaced in the object itself, so that its class, and other
    objects of it, keep theirs. Everything is restored at the end, also after an
    exception. Not safe for two threads that use one object.

    Values are written into the objects' dictionaries: a module's ``__setattr__``
    would take several times as long, and this runs for each image.

    Args:
        patches: of each the object, such as a module, the attribute's name, and its
            value. None of them is a parameter, a submodule or a property.
    """

    def __init__(self, patches: Iterable[tuple[Any, str, Any]]) -> None:
        self._patches = patches
        self._before: list[tuple[dict[str, Any], str, Any]] = []

    def __enter__(self) -> None:
        for target, name, value in self._patches:
            own = vars(target)
            self._before.append((own, name, own.get(name, _ABSENT)))
            own[name] = value

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        while self._before:
            own, name, value = self._before.pop()
            if value is _ABSENT:
                own.pop(name, None)
            else:
                own[name] = value
