"""Held-out images, for selectors that search while the student trains."""

from collections.abc import Iterator
from functools import partial
from os.path import abspath
from typing import Any

from mmengine.runner.loops import _InfiniteDataloaderIterator

from mmrlkd.registry import HOOKS

from .distiller_hook import DistillerHook, distiller_of
from .seeding import HELD_OUT, SeededIterator


@HOOKS.register_module()
class HeldOutHook(DistillerHook):
    """Gives a :class:`~mmrlkd.distillation.PyramidDistiller` a held-out batch for
    each iteration from which its selector learns.

    The n-th batch is loaded with the n-th seed of a stream of its own, and the
    random numbers of training stay the same as without this hook. So a resumed
    run continues bit for bit if the training batches do.

    Args:
        dataloader: config of an endless data loader, as
            ``train_dataloader``; its images must not be among the training
            ones.
    """

    def __init__(self, dataloader: dict) -> None:
        self._dataloader = dataloader

    def before_run(self, runner) -> None:
        distiller_of(runner).held_out.connect(partial(self._open, runner))

    def before_train(self, runner) -> None:
        """Build the data set.

        Raises:
            ValueError: it shares images with the training set.
        """
        # The Runner's own method, which handles samplers and workers.
        self._loader = runner.build_dataloader(
            self._dataloader, seed=runner.seed,
            diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False))
        check_disjoint(
            self._loader.dataset, runner.train_dataloader.dataset)

    def _open(self, runner, given: int) -> SeededIterator:
        """The batches from number ``given`` on."""
        batches = SeededIterator(
            _InfiniteDataloaderIterator(self._loader), runner, HELD_OUT)
        if given:
            batches.skip_iter(given)
        return batches


def check_disjoint(held_out: Any, train: Any) -> None:
    """Refuse held-out images that are training images.

    Images are compared by path, or by id if they have no path. Data sets without
    either are not compared.

    Raises:
        ValueError: the data sets share images.
    """
    theirs = set(_images(held_out))
    shared = sorted(theirs & set(_images(train)))
    if shared:
        raise ValueError(
            f'HeldOutHook.dataloader.dataset shares {len(shared)} of its '
            f'{len(theirs)} images with train_dataloader.dataset, among them '
            f"{', '.join(shared[:3])}; accepted: images that the student does "
            'not train on.')


def _images(dataset: Any) -> Iterator[str]:
    """Paths or ids of the images of a data set, inside its wrappers."""
    if hasattr(dataset, 'datasets'):  # concatenated
        for each in dataset.datasets:
            yield from _images(each)
    elif hasattr(dataset, 'dataset'):  # repeated, balanced, …
        yield from _images(dataset.dataset)
    elif hasattr(dataset, 'get_data_info'):
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            if 'img_path' in info:
                yield abspath(info['img_path'])
            elif 'img_id' in info:
                yield f"img_id {info['img_id']}"
