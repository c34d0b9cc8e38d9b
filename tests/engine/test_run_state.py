"""What of other ranks goes into the one file, and comes back."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.engine import RunStateHook, run_state_hook

PPO = dict(type='mmrlkd.PolicySelector', rollout_batches=3)


@pytest.fixture
def two_ranks(monkeypatch):
    """Two processes, of which this is the first."""
    monkeypatch.setattr(run_state_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(
        run_state_hook, 'all_gather_object',
        lambda mine: [mine, dict(rollouts=['of the other'])])


@pytest.fixture
def runner(build_distiller, run_config):
    warnings = []
    return SimpleNamespace(
        cfg=run_config(),
        model=build_distiller(selector=PPO), warnings=warnings,
        message_hub=SimpleNamespace(log_scalars={}), _resume=True,
        _load_from='file.pth', logger=SimpleNamespace(
            warning=warnings.append))


def save(hook, runner, **parts):
    checkpoint = dict(
        state_dict=runner.model.state_dict(), meta={},
        message_hub=dict(runtime_info={}), **parts)
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint


def test_rollouts_of_all_ranks_are_in_a_gathered_file(two_ranks, runner):
    hook = RunStateHook()
    hook.gather(runner)
    state = save(hook, runner, optimizer={})['mmrlkd']
    assert state['local'] == [dict(rollouts=[], learner={}),
                              dict(rollouts=['of the other'])]
    assert not runner.warnings


def test_one_rank_alone_warns_once_and_drops_the_others(two_ranks, runner):
    hook = RunStateHook()
    checkpoints = [save(hook, runner, optimizer={}) for _ in range(2)]
    assert [len(each['mmrlkd']['local']) for each in checkpoints] == [1, 1]
    assert len(runner.warnings) == 1
    assert 'rollouts of the others will be dropped' in runner.warnings[0]
    hook.after_load_checkpoint(runner, checkpoints[0])
    assert 'rollouts of 1 processes, and this one has 2' in runner.warnings[1]


def test_a_file_without_optimizer_has_the_policy_and_no_rollouts(runner):
    state = save(RunStateHook(), runner)['mmrlkd']
    assert 'local' not in state
    weights = runner.model.selector.policy.state_dict()
    for key, value in state['distiller']['selector']['policy'].items():
        assert torch.equal(value, weights[key])


@pytest.mark.parametrize('name, change', [
    ('CachedMosaic', dict(train_dataloader=dict(dataset=dict(pipeline=[
        dict(type='CachedMosaic'), dict(type='PackDetInputs')])))),
    ('CachedMixUp', dict(custom_hooks=[dict(
        type='PipelineSwitchHook', switch_pipeline=[
            dict(type='mmdet.CachedMixUp')])])),
    ('BatchSyncRandomResize', dict(model=dict(student=dict(
        data_preprocessor=dict(batch_augments=[
            dict(type='BatchSyncRandomResize')]))))),
])
def test_augmentation_with_a_memory_is_told_of(name, change):
    plain = dict(model=dict(student=dict(type='RetinaNet')))
    assert run_state_hook.remembering(Config(plain)) == []
    cfg = Config(plain | change)
    assert run_state_hook.remembering(cfg) == [name]
    said = []
    RunStateHook().before_run(SimpleNamespace(
        cfg=cfg, model=PyramidDistiller.__new__(PyramidDistiller),
        logger=SimpleNamespace(warning=said.append)))
    assert len(said) == 1 and said[0].startswith(
        f'{name} keeps what it saw in a memory that no checkpoint holds')
