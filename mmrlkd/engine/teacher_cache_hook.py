"""What a run says of its cache of the teacher's maps."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from mmengine.dist import get_world_size
from torch import Tensor

from mmrlkd.datasets import FixedAugmentations
from mmrlkd.distillation.teacher.cache import Counts, TeacherCache
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.registry import HOOKS

from .distiller_hook import DistillerHook, distiller_in

#: Share of an epoch's maps below which a cache that could have them is useless.
_USELESS = 0.01


@HOOKS.register_module()
class TeacherCacheHook(DistillerHook):
    """Reports a cache of the teacher's maps (``model.teacher.cache``), and has it
    written to the disk at the end of epochs and of the training. A run with such
    a cache has this hook.

    Before the first iteration it says how large the cache would get. The log has
    ``cache_hits``, the share of an iteration's maps that the cache had. After an
    epoch without any, though another was seen before, a warning says why.
    """

    priority = 'NORMAL'  # before the LoggerHook

    def before_train(self, runner) -> None:
        self._images: int | None = None
        self._epochs = 0
        self._epoch = Counts()

    def before_train_iter(self, runner, batch_idx: int,
                          data_batch: Any = None) -> None:
        teacher, cache = _cached(runner)
        if self._images is None and teacher and cache:
            self._images = 0
            if cache.store.readable:
                _announce(runner, teacher, cache, data_batch['inputs'])

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        _, cache = _cached(runner)
        if cache is None or self._images is None:
            return
        counts = cache.take_counts()
        if counts.asked:
            runner.message_hub.update_scalar(
                'train/cache_hits', counts.found / counts.asked)
        self._epoch += counts
        self._images += len(data_batch['inputs'])
        if self._images >= ceil(
                len(runner.train_dataloader.dataset) / get_world_size()):
            self._end_epoch(runner, cache)

    def after_train_epoch(self, runner) -> None:
        self._flush(runner)

    def after_train(self, runner) -> None:
        self._flush(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._flush(runner)

    def _flush(self, runner) -> None:
        _, cache = _cached(runner)
        if cache is not None:
            cache.store.flush()

    def _end_epoch(self, runner, cache: TeacherCache) -> None:
        """Of as many images as the data set has, whatever the loop counts."""
        self._epochs += 1
        if (self._epochs == 2 and cache.store.writable and self._epoch.asked
                and self._epoch.found / self._epoch.asked < _USELESS):
            runner.logger.warning(
                'The cache of the teacher had none of the maps of an epoch, '
                'though it was filled in the one before: the images differ '
                'each time, by random augmentation, or because each is padded '
                'to the largest of its batch. What helps is train_dataloader.'
                "dataset=dict(type='mmrlkd.FixedAugmentations', variants=4, "
                'dataset=…), which repeats augmentations, and padding to one '
                'size (docs/teacher_cache.md).')
        self._epoch, self._images = Counts(), 0


def report_cache(runner) -> None:
    """Register a :class:`TeacherCacheHook` with a Runner whose teacher has a
    cache; called in a hook's ``before_run``."""
    if _cached(runner)[1] is not None and not any(
            isinstance(hook, TeacherCacheHook) for hook in runner.hooks):
        runner.register_hook(TeacherCacheHook())


def _cached(runner) -> tuple[Teacher | None, TeacherCache | None]:
    """The teacher that a Runner's model learns from, and its cache."""
    distiller = distiller_in(runner)
    teacher = None if distiller is None else distiller.teacher
    return teacher, None if teacher is None else teacher.cache


def _announce(runner, teacher: Teacher, cache: TeacherCache,
              images: Sequence[Tensor]) -> None:
    """Say how large the cache would get.

    Args:
        runner: of the training.
        teacher: whose maps it has.
        cache: its.
        images: of the first batch, (3, H, W) each.
    """
    height, width = (max(sizes) for sizes in zip(
        *(image.shape[-2:] for image in images), strict=True))
    data = runner.train_dataloader.dataset
    number = len(data) * (
        data.variants if isinstance(data, FixedAugmentations) else 1)
    outlook = cache.outlook(teacher.levels, number, (height, width))
    fits = outlook.needed <= min(outlook.limit, outlook.free)
    (runner.logger.info if fits else runner.logger.warning)(
        f'The cache of the teacher, {cache.settings.path}, takes '
        f'{outlook.image / 1e3:.4g} kB for all levels of an image of '
        f'{height}×{width} px, {outlook.needed / 1e9:.3g} GB for {number} '
        f'images, and as much again for each further augmentation. Allowed '
        f'are {outlook.limit / 1e9:.3g} GB (size_gb), free on the disk are '
        f'{outlook.free / 1e9:.3g} GB' + (
            '.' if fits else ': it will not hold all of them.'))
