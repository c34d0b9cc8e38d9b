"""Random numbers that depend on the position in training, not on its history.

Each iteration (in an epoch-based run, each epoch) is seeded from the run's seed,
the rank and the position. So a resumed run draws the same numbers as an
uninterrupted one, and no generator has to be saved.
"""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator

from mmrlkd.registry import HOOKS, LOOPS

#: Streams of one iteration: numbers drawn while loading its batch must not
#: repeat in its training step. ``WEIGHTS`` is that of the weights before the first,
#: ``BLOCKS`` that of the residual blocks which are dropped.
LOADING, TRAINING, EPOCH, HELD_OUT, WEIGHTS, BLOCKS = range(6)


def _seed(seed: int, stream: int, position: int) -> None:
    # SeedSequence mixes its words, so that seeds of neighbouring positions
    # give unrelated numbers.
    words = np.random.SeedSequence(
        [seed, get_rank(), stream, position]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))  # all devices


@HOOKS.register_module()
class SeedHook(Hook):
    """Seeds every epoch, or every iteration, from its position in the run.

    And before them the initial weights: runs of one seed begin with the same
    student, whatever else was built beside it (Runner calls ``before_run``
    right before it initialises the model).

    Data loaded in worker processes draws from the workers' own generators,
    which restart with the data loader; bit-for-bit resuming of random
    augmentation needs ``num_workers=0``, or resuming at an epoch's end with
    ``persistent_workers=False``.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner) -> None:
        _seed(runner.seed, WEIGHTS, 0)

    def before_train_epoch(self, runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            _seed(runner.seed, EPOCH, runner.epoch)

    def before_train_iter(self, runner, batch_idx: int,
                          data_batch=None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            _seed(runner.seed, TRAINING, runner.iter)


class SeededIterator:
    """An endless data iterator whose n-th batch has the n-th seed."""

    def __init__(self, batches: _InfiniteDataloaderIterator, runner: Runner,
                 stream: int = LOADING) -> None:
        self._stream = stream
        self._batches = batches
        self._runner = runner  # resuming may still change its seed
        self._position = 0

    def __iter__(self) -> 'SeededIterator':
        return self

    def __next__(self):
        _seed(self._runner.seed, self._stream, self._position)
        self._position += 1
        return next(self._batches)

    def skip_iter(self, iterations: int) -> None:
        """Skip the batches of iterations that were trained before resuming."""
        self._batches.skip_iter(iterations)
        self._position += iterations


@LOOPS.register_module()
class SeededIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's loop, loading each batch with the seed of its iteration.

    Together with :class:`SeedHook` and ``num_workers=0`` a run resumed at
    any iteration continues bit for bit.
    """

    def __init__(self, runner, *args, **kwargs) -> None:
        super().__init__(runner, *args, **kwargs)
        self.dataloader_iterator = SeededIterator(
            _InfiniteDataloaderIterator(self.dataloader), runner)
