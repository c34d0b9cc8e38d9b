"""What a warm cache of the teacher's maps saves of a training iteration.

    python benchmarks/teacher_cache.py [--configs CONFIG …] [--batch 8]
        [--rounds 40] [--json OUT]

An iteration loads its batch and trains on it with all levels, as in an epoch of a
demo's pair; the pair's data lie where its config says. Weights are random, of which
times do not depend. The floor has no cache. ``warm`` finds all maps in the file;
``cold`` finds none and adds those of each iteration, which the first epoch does. All
variants see the same 64 images, not flipped anew. ``_measure.py`` says how they are
measured.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from itertools import cycle

import torch
from _measure import Benchmark, Sweep, run
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from mmrlkd.config.compose import load_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

IMAGES = 64
FLOOR = 'no cache'
#: The store's dtype of each variant, and whether it has the maps.
VARIANTS = {
    FLOOR: ('', False), 'warm, exact': ('exact', True),
    'warm, bfloat16': ('bfloat16', True), 'cold, exact': ('exact', False),
    'cold, bfloat16': ('bfloat16', False)}


def make_step(name: str, batch: int, config: str,
              device: torch.device) -> Callable[[int], None]:
    """A function that loads a batch and trains on it, given its number."""
    dtype, warm = VARIANTS[name]
    cfg = load_config(config, 'uniform')
    import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    cfg.model.teacher.checkpoint = None
    if dtype:
        folder = tempfile.mkdtemp(prefix='teacher_cache_')
        atexit.register(shutil.rmtree, folder, True)
        cfg.model.teacher.cache = dict(path=folder, dtype=dtype)
    loader = cfg.train_dataloader
    loader.batch_size = batch
    loader.dataset = dict(
        type='mmrlkd.FixedAugmentations', variants=1,
        dataset=dict(loader.dataset, indices=IMAGES))
    data = Runner.build_dataloader(loader, seed=0)
    model = MODELS.build(cfg.model)
    model.student.init_weights()
    model = model.to(device).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    if warm:
        fill(model, data.dataset, batch)
    batches = cycle(data)  # InfiniteSampler: never ends

    def step(number: int) -> None:
        if dtype and not warm:  # maps of another teacher: none is known
            model.teacher.cache._model = os.urandom(16)
        model.schedule.set(Phase('run', 1.0), number, 0.0)
        model.train_step(next(batches), optimizer)

    return step


def fill(model: PyramidDistiller, data, batch: int) -> None:
    """Compute all maps of the images, as an epoch would that selects all."""
    for begin in range(0, len(data), batch):
        items = [data[i] for i in range(begin, min(begin + batch, len(data)))]
        images = model.data_preprocessor(dict(
            inputs=[item['inputs'] for item in items],
            data_samples=[item['data_samples'] for item in items]))['inputs']
        pyramid = model.teacher.extract(images)
        pyramid.begin()
        for level in range(len(model.levels)):
            pyramid.level(level)
    model.teacher.cache.store.flush()


if __name__ == '__main__':
    run(Benchmark(
        __file__, 'one iteration', tuple(VARIANTS),
        Sweep('configs', '', ('configs/demo/study.py',
                              'configs/demo/classification_large.py')),
        make_step, group=5, rounds=40), __doc__.splitlines()[0])
