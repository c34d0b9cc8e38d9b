"""Held-out images on their way from the data loader to the search."""

from typing import Any


class HeldOut:
    """The batch that a search judges the next step by.

    A :class:`~mmrlkd.engine.HeldOutHook` promises batches before the run and
    gives one before each iteration from which the selector learns.
    """

    def __init__(self) -> None:
        self.promised = False
        #: How many batches were given; resuming goes on with the next one.
        self.given = 0
        self._batch: Any = None

    def give(self, batch: Any) -> None:
        """Hand in a batch, as a data loader gives it."""
        self._batch = batch
        self.given += 1

    def take(self) -> Any:
        """The batch given for this iteration."""
        assert self._batch is not None, 'no held-out batch was given'
        batch, self._batch = self._batch, None
        return batch

    def require(self, selector: str) -> None:
        """Refuse to search without held-out images.

        Raises:
            ValueError: no hook promised any.
        """
        if not self.promised:
            raise ValueError(
                f'selector is a {selector}, which learns from held-out '
                'images, but custom_hooks has nothing to give them; accepted: '
                "dict(type='mmrlkd.HeldOutHook', dataloader=…) with images "
                'that train_dataloader does not have.')
