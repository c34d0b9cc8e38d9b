"""The held-out batches of a selector that searches."""

from collections.abc import Callable, Iterator
from typing import Any

from .functional import preserved_rng


class HeldOut:
    """Held-out batches, from a source that is connected before the run.

    :class:`~mmrlkd.engine.HeldOutHook` connects it. Copies of the model, such as
    EMA's, share the source.

    Attributes:
        given: number of batches taken so far; a resumed run continues there.
    """

    def __init__(self) -> None:
        self.given = 0
        self._open: Callable[[int], Iterator[Any]] | None = None
        self._batches: Iterator[Any] | None = None

    def __deepcopy__(self, memo: dict) -> 'HeldOut':
        return self

    def connect(self, open_at: Callable[[int], Iterator[Any]]) -> None:
        """Set the source: ``open_at(n)`` returns the batches from the n-th on, and
        is called when the first is needed."""
        self._open, self._batches = open_at, None

    def next(self) -> Any:
        """The next batch, as from a data loader. The random numbers of training
        do not change."""
        assert self._open is not None, 'no source was connected'
        # Data augmentation draws random numbers.
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
