"""The hooks one by one, without a run around them."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmrlkd.config.inspection import check_config
from mmrlkd.config.student import student_config
from mmrlkd.engine import PolicyHealthHook, policy_health_hook
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.phase_hook import make_phase
from mmrlkd.engine.seeding import SeededIterator


@pytest.fixture
def warnings_of(monkeypatch):
    """What a hook says about the scalars of some iterations, in a phase in which
    the policy chooses, or only learns."""

    def run(hook, iterations, choose=True):
        said = []
        phase = SimpleNamespace(choose=choose)
        monkeypatch.setattr(
            policy_health_hook, 'distiller_of', lambda runner: SimpleNamespace(
                schedule=SimpleNamespace(phase=phase)))
        runner = SimpleNamespace(logger=SimpleNamespace(warning=said.append))
        for scalars in iterations:
            hook.after_train_iter(runner, 0, outputs=scalars)
        return said

    return run


def scalars(rates, entropy=1.0, progress=0.1):
    return {'policy_entropy': torch.tensor(entropy),
            'policy_progress': torch.tensor(progress),
            **{f'select.P{i}': torch.tensor(r) for i, r in enumerate(rates)}}


def test_a_collapse_is_said_once(warnings_of):
    said = warnings_of(PolicyHealthHook(window=3), [scalars([0., 1.])] * 9)
    assert len(said) == 1 and 'has collapsed' in said[0]
    assert 'entropy_coef' in said[0] and 'mean_cost' in said[0]


@pytest.mark.parametrize('iterations', [
    [scalars([0., 1.]), scalars([1., 0.])] * 5,  # changes from batch to batch
    [scalars([0.1, 1.])] * 10,  # differs within a batch
    [scalars([0., 1.])] * 2,  # too few to tell
    [{'loss': torch.tensor(1.0)}] * 10,  # nothing was chosen
    [scalars([0., 1.], entropy=0.0, progress=0.9)] * 2,
])
def test_a_policy_that_chooses_is_left_in_peace(warnings_of, iterations):
    assert not warnings_of(PolicyHealthHook(window=3), iterations)


def test_a_warm_up_that_distils_all_levels_is_no_collapse(warnings_of):
    """All levels are the phase's; the policy only learns, and may lose its entropy."""
    hook, all_levels = PolicyHealthHook(window=3), scalars([1., 1.])
    assert not warnings_of(hook, [all_levels] * 9, choose=False)
    # What it saw in the warm-up does not count once the policy chooses.
    assert not warnings_of(hook, [all_levels] * 2)
    assert len(warnings_of(hook, [all_levels])) == 1
    early = [scalars([1., 1.], entropy=0.001)] * 9
    said, = warnings_of(PolicyHealthHook(window=3), early, choose=False)
    assert 'no longer explores' in said


@pytest.mark.parametrize('progress, said', [(0.2, 1), (0.8, 0)])
def test_entropy_gone_early_is_said(warnings_of, progress, said):
    iterations = [scalars([0.5, 1.], entropy=0.001, progress=progress)] * 9
    messages = warnings_of(PolicyHealthHook(window=3), iterations)
    assert len(messages) == said
    assert all('no longer explores' in message for message in messages)


def test_presets_are_the_methods_phases():
    pretrain, policy, finetune = (
        make_phase(name, 0.3) for name in ('pretrain', 'policy', 'finetune'))
    assert not pretrain.choose and pretrain.learn_every == 0
    assert policy.freeze_backbone and policy.student_every == 5
    assert policy.learn_every == 1
    assert finetune.lr_factor == 0.1 and finetune.student_every == 1


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    write_atomically(path, b'old')
    monkeypatch.setattr('os.fsync', lambda _: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_batch_has_the_seed_of_its_position():
    class Batches:
        def __next__(self):
            return torch.rand(3)

        def skip_iter(self, iterations):
            pass

    whole = SeededIterator(Batches(), SimpleNamespace(seed=5))
    batches = [next(whole) for _ in range(4)]
    skipped = SeededIterator(Batches(), SimpleNamespace(seed=5))
    skipped.skip_iter(2)
    torch.rand(17)
    assert torch.equal(next(skipped), batches[2])
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(
        next(SeededIterator(Batches(), SimpleNamespace(seed=6))), batches[0])


def test_the_students_config_has_no_hook_of_this_package(run_config):
    cfg = run_config()
    plain = student_config(cfg)
    assert plain.model == cfg.model.student
    assert plain.custom_hooks == []
    assert list(plain.default_hooks) == ['logger']
    assert student_config(plain).model == plain.model


HELD_OUT = [dict(type='mmrlkd.HeldOutHook', dataloader={})]


@pytest.mark.parametrize('change, sentence', [
    (dict(train_cfg=None), r'train_cfg is None, .*accepted: dict\(max_epochs'),
    (dict(optim_wrapper=None), 'optim_wrapper is None, and without it nothing'),
    (dict(load_from='gone.pth'),
     r'load_from: gone\.pth \(relative to /.*\) is not a file'),
    (dict(load_from='gone.pth', resume=True), r'--resume: gone\.pth \(relative'),
    (dict(launcher='pytorch'), 'model_wrapper_cfg.type is None'),
    (dict(train_dataloader=dict(dataset=dict(ann_file='gone.json'))),
     'gone.json is not a file'),
    (dict(optim_wrapper=dict(accumulative_counts=2)),
     'optim_wrapper.accumulative_counts is 2'),
    (dict(runner_type='FlexibleRunner'), "runner_type is 'FlexibleRunner'"),
    (dict(strategy=dict(type='FSDPStrategy')),
     "strategy.type is 'FSDPStrategy': .* accepted: neither"),
    (dict(activation_checkpointing='backbone.layer1'),
     "activation_checkpointing names 'backbone.layer1'; accepted: modules of"),
    (dict(activation_checkpointing=['student.neck'], custom_hooks=HELD_OUT),
     'activation_checkpointing is set, but mmrlkd.PolicySelector runs'),
    (dict(model=dict(student=dict(backbone=dict(with_cp=True))),
          custom_hooks=HELD_OUT), 'with_cp is set, but'),
    (dict(optim_wrapper=dict(
        constructor='LearningRateDecayOptimizerConstructor')),
     "optim_wrapper.constructor is 'LearningRateDecay"),
])
def test_a_config_is_checked_before_it_trains(run_config, change, sentence):
    cfg = run_config()
    check_config(cfg)
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=sentence):
        check_config(cfg)


@pytest.mark.parametrize('dataset', [
    dict(data_root='s3://bucket/coco/'),
    dict(backend_args=dict(backend='petrel')),
])
def test_annotations_elsewhere_are_not_looked_for(run_config, dataset):
    cfg = run_config()
    cfg.train_dataloader.dataset.ann_file = 'annotations/gone.json'
    cfg.merge_from_dict(dict(train_dataloader=dict(dataset=dataset)))
    check_config(cfg)


def test_checkpointing_of_the_student_is_accepted(run_config):
    cfg = run_config(activation_checkpointing='student.neck')
    cfg.model.student.backbone.with_cp = True
    check_config(cfg)


def test_a_plain_model_may_keep_its_own_hooks(run_config):
    cfg = run_config(runner_type='FlexibleRunner')
    cfg.merge_from_dict(dict(
        default_hooks=dict(checkpoint=dict(type='CheckpointHook'))))
    check_config(Config(student_config(cfg).to_dict()))
