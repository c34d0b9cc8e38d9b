"""The teacher's pyramid of a batch, as far as it can be read from the cache."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.teacher.execution import Execution
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.necks import take

from .cache import BatchEntries

#: Names of entries beside those of levels.
LOGITS, SCORES = 'logits', 'scores'
#: After the name of a level that was computed for one image of a batch.
ALONE = ', alone'


class CachedPyramid(LazyPyramid):
    """Reads what the cache has; the teacher runs for the other images alone.

    A map of an image is the same in whatever batch it is computed, as far as
    the libraries' kernels allow: on the CPU to the last bit, if no image is
    computed alone. For one image oneDNN has other kernels, so the map of a level
    that one image of a batch selected is an entry of its own; and where one image
    of several is missing, it is computed twice over. On a GPU kernels are chosen
    by the batch's size, and maps differ by rounding.

    Args:
        adapter: see :class:`.LazyPyramid`.
        levels: likewise.
        images: likewise.
        execution: likewise.
        entries: of the images.
        head: see :class:`.LazyPyramid`.
    """

    def __init__(self, adapter: TaskAdapter, levels: Sequence[Level],
                 images: Tensor, execution: Execution,
                 entries: BatchEntries, head: bool = False) -> None:
        super().__init__(adapter, levels, images, execution, head)
        self._entries = entries
        #: Images that the teacher runs for, and their pyramid.
        self._parts: list[tuple[list[int], LazyPyramid]] = []

    def begin(self, rows: Tensor | None = None) -> None:
        """Run the backbone for images of which the cache has nothing: they
        need it, whatever is selected; see :meth:`.LazyPyramid.begin`."""
        names = [name for level in self._levels
                 for name in (level.name, level.name + ALONE)] or [LOGITS]
        wanted = set(self._rows(rows)).difference(
            row for known, _ in self._parts for row in known)
        lacking = [row for row in self._entries.lacking(names) if row in wanted]
        if lacking:
            self._add_part(lacking).begin()

    @torch.no_grad()
    def level(self, i: int, index: Tensor | None = None) -> Tensor:
        """See :meth:`.LazyPyramid.level`."""
        if i not in self._whole:
            level = self._levels[i]
            alone = (index is not None and len(index) == 1 < len(self._images)
                     and not level.in_backbone and not self._head)
            maps = self._gather(
                level.name + ALONE * alone, self._rows(index),
                lambda part, some: [part.level(i, some)], alone=alone)[0]
            if index is not None:
                return maps
            self._whole[i] = maps
        return take(self._whole[i], index)

    @torch.no_grad()
    def logits(self) -> Tensor:
        """See :meth:`.LazyPyramid.logits`."""
        if self._logits is None:
            self._logits = self._gather(
                LOGITS, self._rows(None),
                lambda part, some: [take(part.logits(), some)], exact=True)[0]
        return self._logits

    @torch.no_grad()
    def score_logits(self) -> list[Tensor]:
        """See :meth:`.LazyPyramid.score_logits`."""
        # Not the probabilities: torch's sigmoid rounds the last elements of a
        # tensor otherwise than the rest, whichever image they belong to.
        if self._score_logits is None:
            self._score_logits = self._gather(
                SCORES, self._rows(None),
                lambda part, some: [
                    take(each, some) for each in part.score_logits()],
                exact=True)
        return self._score_logits

    @property
    def ran_head(self) -> bool:
        return any(part.ran_head for _, part in self._parts)

    def _rows(self, index: Tensor | None) -> list[int]:
        return (list(range(len(self._images))) if index is None
                else index.tolist())

    def _gather(self, name: str, rows: list[int],
                compute: Callable[[LazyPyramid, Tensor | None], list[Tensor]],
                exact: bool = False, alone: bool = False) -> list[Tensor]:
        """(n, …) tensors of some images, read or computed.

        Args:
            name: of the entries.
            rows: n images.
            compute: gives them, of a pyramid and which of its images.
            exact: see :meth:`.BatchEntries.write`.
            alone: whether a single image may be computed alone.
        """
        order, tensors = self._entries.read(name, rows)
        pieces = [tensors] if order else []
        missing = set(rows).difference(order)
        for part, some, index in self._parts_of(
                [row for row in rows if row in missing]):
            if index is None or len(index) > 1 or alone:
                tensors = compute(part, index)
            else:
                tensors = [each[:1] for each in compute(part, index.repeat(2))]
            pieces.append(self._entries.write(name, some, tensors, exact))
            order = order + some
        if len(pieces) == 1:
            return pieces[0]
        sorting = torch.tensor(
            [order.index(row) for row in rows], device=self._images.device)
        return [take(torch.cat(each), sorting)
                for each in zip(*pieces, strict=True)]

    def _parts_of(self, rows: list[int]
                  ) -> Iterator[tuple[LazyPyramid, list[int], Tensor | None]]:
        """The pyramids of some images; of each, the images that it is asked for,
        and which of its own these are (None: all)."""
        left = set(rows).difference(
            row for known, _ in self._parts for row in known)
        if left:
            self._add_part([row for row in rows if row in left])
        for known, part in self._parts:
            some = [row for row in rows if row in known]
            if some:
                yield part, some, None if some == known else torch.tensor(
                    [known.index(row) for row in some],
                    device=self._images.device)

    def _add_part(self, rows: list[int]) -> LazyPyramid:
        if len(rows) == 1 < len(self._images):
            rows = rows * 2
        index = None if rows == self._rows(None) else torch.tensor(
            rows, device=self._images.device)
        part = LazyPyramid(
            self._adapter, self._levels, take(self._images, index),
            self._execution, self._head)
        part.computed = self.computed
        self._parts.append((rows, part))
        return part
