"""Whole runs: what they leave behind, killing them, comparing them."""

import json
from pathlib import Path

import pytest
import torch


def _flat(value, prefix=''):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f'{prefix}.{key}')
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _flat(item, f'{prefix}.{i}')
    elif value is not None and not isinstance(value, str):
        yield prefix, torch.as_tensor(value)


@pytest.fixture
def state_of():
    """Everything that training changes, as one flat dict of tensors."""

    def state_of(runner):
        model = runner.model
        return dict(_flat(dict(
            student=model.state_dict(), run=model.run_state(),
            local=model.selector.local_run_state(),
            optimizer=runner.optim_wrapper.state_dict(),
            schedulers=[s.state_dict() for s in runner.param_schedulers])))

    return state_of


@pytest.fixture
def assert_same():
    """Two flat dicts are equal bit for bit."""

    def assert_same(mine, theirs):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert torch.equal(mine[key], theirs[key]), key

    return assert_same


@pytest.fixture
def logged():
    """The training lines that a run logged."""

    def logged(work_dir):
        lines = [json.loads(line) for file in sorted(
            Path(work_dir).glob('*/vis_data/scalars.json'))
            for line in file.read_text().splitlines()]
        return [line for line in lines if 'iter' in line]

    return logged


@pytest.fixture
def leave():
    """Make a work dir as a run that was killed at a checkpoint leaves it."""

    def leave(killed, whole, checkpoint):
        killed.mkdir()
        name = f'{checkpoint}.pth'
        (killed / name).write_bytes((whole / name).read_bytes())
        (killed / 'last_checkpoint').write_text(
            str(killed / f'{checkpoint}.pth'))

    return leave


@pytest.fixture
def search_config(run_config, scenes_dataset):
    """A run that searches with batches of 2 held-out images."""

    def build(selector, name='run', **overrides):
        cfg = run_config(name, selector=selector, **overrides)
        dataset = scenes_dataset('train')  # with its random flips
        dataset.update(ann_file='annotations/val.json',
                       data_prefix=dict(img='val/'))
        cfg.custom_hooks.append(dict(
            type='mmrlkd.HeldOutHook', dataloader=dict(
                batch_size=2, num_workers=0, dataset=dataset,
                sampler=dict(type='InfiniteSampler', shuffle=True))))
        return cfg

    return build
