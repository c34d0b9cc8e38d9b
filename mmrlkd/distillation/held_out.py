"""Held-out images for a search."""

from collections.abc import Callable, Iterator
from typing import Any

from .functional import preserved_rng


class HeldOut:
    """The batches by which a search judges the student's next step.

    A :class:`~mmrlkd.engine.HeldOutHook` connects a source before the run. A
    copy of the model, such as EMA makes, shares it.

    Attributes:
        given: how many batches were taken; resuming goes on with the next.
    """

    def __init__(self) -> None:
        self.given = 0
        self._open: Callable[[int], Iterator[Any]] | None = None
        self._batches: Iterator[Any] | None = None

    def __deepcopy__(self, memo: dict) -> 'HeldOut':
        return self

    def connect(self, open_at: Callable[[int], Iterator[Any]]) -> None:
        """Say where batches come from: ``open_at(n)`` is called when the
        first is wanted, and begins with the n-th."""
        self._open, self._batches = open_at, None

    def next(self) -> Any:
        """The next batch, as a data loader gives it; loading it leaves the
        random numbers of training as they are."""
        assert self._open is not None, 'no source was connected'
        with preserved_rng():
            if self._batches is None:
                self._batches = self._open(self.given)
            batch = next(self._batches)
        self.given += 1
        return batch

    def check_connected(self, selector: str) -> None:
        """Refuse to search without held-out images.

        Raises:
            ValueError: no hook connected a source.
        """
        if self._open is None:
            raise ValueError(
                f'selector is a {selector}, which learns from held-out '
                'images, but custom_hooks has nothing to give them; accepted: '
                "dict(type='mmrlkd.HeldOutHook', dataloader=…) with images "
                'that train_dataloader does not have.')
