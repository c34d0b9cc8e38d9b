"""Runs of one seed are pairs: the same student learns from the same batches
through the same connectors, whatever chooses its levels."""

import hashlib

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrlkd.distillation import PyramidDistiller


class Watch(Hook):
    """Hashes the student before training, and each batch; and connectors and
    losses, where levels are distilled."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.links: str | None = None

    def before_train(self, runner) -> None:
        model = runner.model
        student = (model.student if isinstance(model, PyramidDistiller)
                   else model)
        self.seen.append(_hash(student.state_dict().values()))
        if student is not model and model.distils:
            self.links = _hash(model.distillation.links.state_dict().values())

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

    def watched(name, seed=3, **config) -> Watch:
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
        return watch

    return watched


def test_methods_of_one_seed_are_pairs(watched):
    alone = watched('alone', selector=None, phases=None).seen
    assert len(set(alone)) == 7
    links = set()
    for name in ('Uniform', 'Random', 'None', 'Gated'):
        watch = watched(name, phases=None, selector=dict(
            type=f'mmrlkd.{name}Selector'))
        assert watch.seen == alone, name
        links.add(watch.links)
    # PHASES update the student less often than they take a batch.
    phases = [dict(name='pretrain', share=1 / 3),
              dict(name='search', share=2 / 3)]
    for name, config in (('policy', {}), ('control', dict(selector=dict(
            type='mmrlkd.ControlSelector', selector=dict(
                type='mmrlkd.PolicySelector',
                policy=dict(type='mmrlkd.TokenPolicy', hidden=16, width=8),
                context=['objects'])))),
            ('worth', dict(selector=dict(
                type='mmrlkd.PolicySelector', reward=dict(
                    type='mmrlkd.WorthReward', signal='teacher_detections',
                    level_values=[1.0, 0.6, 0.4, 0.2]))))):
        watch = watched(name, phases=phases, **config)
        assert watch.seen == alone, name
        links.add(watch.links)
    assert len(links - {None}) == 1
    other = watched('other', seed=4, selector=None, phases=None).seen
    assert not set(other) & set(alone)
