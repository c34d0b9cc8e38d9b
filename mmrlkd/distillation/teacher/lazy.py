"""The teacher's pyramid of a batch, computed on request."""

from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.logits import read_logits

from .execution import Execution, run_backbone
from .necks import LazyNeck, take

Given = ParamSpec('Given')
Result = TypeVar('Result')


def _running(method: Callable[Concatenate['LazyPyramid', Given], Result]
             ) -> Callable[Concatenate['LazyPyramid', Given], Result]:
    """A method that runs parts of the teacher."""
    @wraps(method)
    def run(self: 'LazyPyramid', *args: Given.args,
            **kwargs: Given.kwargs) -> Result:
        # A request comes from inside the student's step, whose gradient and
        # precision settings are not the teacher's.
        with self._execution.running(self._images.device):
            return method(self, *args, **kwargs)
    return run


class LazyPyramid:
    """The teacher's levels of one batch; each is computed when requested.

    Args:
        adapter: of the teacher, frozen and in eval mode.
        levels: its levels, finest first.
        images: (B, 3, H, W), preprocessed.
        execution: how the teacher is run.
        head: whether its head will run, for which the neck computes all levels.
    """

    def __init__(self, adapter: TaskAdapter, levels: Sequence[Level],
                 images: Tensor, execution: Execution,
                 head: bool = False) -> None:
        self._adapter = adapter
        self._levels = levels
        self._images = images
        self._execution = execution
        self._head = head
        #: (B,) where an image is among those that the teacher runs for; None if
        #: it runs for all.
        self._place: Tensor | None = None
        #: Waits for the backbone's outputs; None before it has begun.
        self._wait: Callable[[], tuple[Any, tuple[Tensor, ...]]] | None = None
        self._whole: dict[int, Tensor] = {}
        self._logits: Tensor | None = None
        self._score_logits: list[Tensor] | None = None
        #: Number of images that each level was computed for.
        self.computed = [0] * len(levels)

    @_running
    def level(self, i: int, index: Tensor | None = None) -> Tensor:
        """(n, C, h, w): level ``i`` of the samples ``index``; None for all.

        A level that was computed for all samples is kept.
        """
        return self._execution.hand_over(self._compute(i, index))

    def _compute(self, i: int, index: Tensor | None) -> Tensor:
        if i in self._whole:
            return take(self._whole[i], index)
        level = self._levels[i]
        # For the FLOPs in the log.
        self.computed[i] += len(self._images if index is None else index)
        index = self._placed(index)
        if level.in_backbone:  # the backbone always runs for the whole batch
            return take(self.stages[level.index], index)
        # What the head will ask for is not computed for some images before.
        maps = (take(self.neck.output(level.index, None), index) if self._head
                else self.neck.output(level.index, index))
        if index is None:
            self._whole[i] = maps
        return maps

    def begin(self, rows: Tensor | None = None) -> None:
        """Run the backbone now, instead of at the first request.

        Args:
            rows: (n,) int64 on the CPU, the only images that will be asked for;
                None for all. Without effect if the backbone has run already.
        """
        if rows is not None and self._wait is None:
            if not len(rows):
                return
            self._narrow(rows)
        self._run_backbone()

    @_running
    def _run_backbone(self) -> None:
        self._start()

    def _narrow(self, rows: Tensor) -> None:
        """Run for the images ``rows`` alone."""
        if len(rows) == len(self._images):
            return
        device = self._images.device
        place = torch.full((len(self._images), ), -1)
        place[rows] = torch.arange(len(rows))
        # One image is computed twice over: for a batch of one, the libraries
        # have other kernels, which round otherwise.
        rows = rows if len(rows) > 1 else rows.repeat(2)
        self._images = take(self._images, rows.to(device, non_blocking=True))
        self._place = place.to(device, non_blocking=True)

    def _placed(self, index: Tensor | None) -> Tensor | None:
        """Where the samples ``index`` are among those that the teacher runs for."""
        if self._place is None:
            return index
        assert index is not None, 'the teacher ran for some images only'
        return take(self._place, index)

    @property
    def stages(self) -> tuple[Tensor, ...]:
        """The backbone's stage maps of the batch."""
        return self._backbone[1]

    # Two steps, so that a stream of its own can run the backbone beside the
    # student: `_start` begins it, `_backbone` waits for it.
    def _start(self) -> Callable[[], tuple[Any, tuple[Tensor, ...]]]:
        if self._wait is None:
            self._wait = self._execution.start(
                lambda images: run_backbone(
                    self._adapter, images, bool(self._levels)), self._images)
        return self._wait

    @cached_property
    def _backbone(self) -> tuple[Any, tuple[Tensor, ...]]:
        return self._start()()

    @cached_property
    def neck(self) -> LazyNeck:
        """The neck on the backbone's output."""
        return self._adapter.lazy_neck(self._backbone[0])

    @_running
    def logits(self) -> Tensor:
        """(B, K) or (B, K, h, w): the head's logits; runs the whole neck,
        the first time."""
        if self._logits is None:
            self._logits = self._execution.hand_over(
                read_logits(self._adapter, self._features()))
        return self._logits

    @_running
    def score_logits(self) -> list[Tensor]:
        """A detector's, see
        :meth:`~mmrlkd.distillation.features.adapters.TaskAdapter.score_logits`;
        likewise."""
        if self._score_logits is None:
            self._score_logits = self._adapter.score_logits(self._features())
        return self._score_logits

    @_running
    def score_maps(self) -> list[Tensor]:
        """The probabilities of these logits."""
        return self._adapter.score_maps(self.score_logits())

    @property
    def ran_head(self) -> bool:
        """Whether the head was run for this batch."""
        return self._logits is not None or self._score_logits is not None

    def _features(self) -> Any:
        """What the head takes."""
        assert self._place is None, 'the teacher ran for some images only'
        return (self._backbone[0] if self._adapter.neck is None
                else self.neck.all())

    @_running
    def prepare(self) -> None:
        """Compute what the levels share, so that their own FLOPs can be counted
        separately."""
        for level in self._levels:
            if level.in_backbone:
                _ = self.stages
            else:
                self.neck.prepare(level.index)
