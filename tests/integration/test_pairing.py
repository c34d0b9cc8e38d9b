"""Runs of one seed are pairs: the same student learns from the same batches,
whatever chooses its levels."""

import hashlib

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrlkd.distillation import PyramidDistiller


class Watch(Hook):
    """Hashes the student before training, and each batch."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seen: list[str] = []

    def before_train(self, runner) -> None:
        model = runner.model
        student = (model.student if isinstance(model, PyramidDistiller)
                   else model)
        self.seen.append(_hash(student.state_dict().values()))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        samples = data_batch['data_samples']
        self.seen.append(_hash([
            *data_batch['inputs'],
            *(sample.gt_instances.bboxes.tensor for sample in samples)]))


def _hash(tensors) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture
def watched(run_config, plain_config_text):
    """What a run of 6 iterations has seen."""

    def watched(name, seed=3, **config) -> list[str]:
        torch.manual_seed(len(name))  # whatever the process did before
        cfg = run_config(name, total=6, randomness=dict(seed=seed), **config)
        if config.get('selector') is None and 'selector' in config:
            cfg.model = cfg.model.student
            cfg.custom_hooks = [dict(type='mmrlkd.SeedHook')]
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        runner = Runner.from_cfg(cfg)
        watch = Watch()
        runner.register_hook(watch)
        runner.train()
        return watch.seen

    return watched


def test_methods_of_one_seed_are_pairs(watched):
    alone = watched('alone', selector=None, phases=None)
    assert len(set(alone)) == 7
    for name in ('Uniform', 'Random', 'None', 'Gated'):
        assert watched(name, phases=None, selector=dict(
            type=f'mmrlkd.{name}Selector')) == alone, name
    # PHASES update the student less often than they take a batch.
    phases = [dict(name='pretrain', share=1 / 3),
              dict(name='search', share=2 / 3)]
    assert watched('policy', phases=phases) == alone
    other = watched('other', seed=4, selector=None, phases=None)
    assert not set(other) & set(alone)
