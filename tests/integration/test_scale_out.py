"""Accumulating, averaging, recomputing and synchronising, in whole runs."""

import copy

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from torch import nn

UNIFORM = dict(type='mmrlkd.UniformSelector')
PPO = dict(
    type='mmrlkd.PolicySelector', rollout_batches=1,
    policy=dict(type='mmrlkd.LSTMPolicy', hidden=16),
    reward=dict(type='mmrlkd.AlignmentReward'))


@pytest.fixture
def accumulating(run_config, even_student):
    """``updates`` of four images each, in so many parts."""

    def build(name, parts, updates, **overrides):
        length = parts * updates
        cfg = run_config(
            name, selector=UNIFORM, student=even_student, validate=False,
            phases=[dict(name='pretrain', share=1)], total=length,
            param_scheduler=[],
            optim_wrapper=dict(
                type='OptimWrapper', accumulative_counts=parts,
                clip_grad=dict(max_norm=1.0),
                optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            **overrides)
        cfg.train_dataloader.batch_size = 4 // parts
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset.pipeline = [
            step for step in pipeline if step.type != 'RandomFlip']
        return cfg

    return build


def test_accumulated_parts_are_one_batch(accumulating, even_student, train):
    """… where a loss is the mean over images, as distillation's is; a
    detector's may be one over the boxes of each part."""
    even_student.bbox_head.loss_cls.loss_weight = 0.0
    whole = train(accumulating('whole', 1, 3)).model
    parts = train(accumulating('parts', 2, 3)).model
    weights = [dict(model.named_parameters()) for model in (whole, parts)]
    for key, value in weights[0].items():
        torch.testing.assert_close(
            weights[1][key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_accumulation_and_ema(
        accumulating, train, tmp_path, leave, state_of, assert_same):
    """The average follows the updates, and both resume."""
    def config(name):
        cfg = accumulating(name, 2, 3)
        cfg.custom_hooks.append(dict(
            type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.25))
        return cfg

    runner = train(config('whole'))
    parameters = [name for name, _ in runner.model.student.named_parameters()]
    saved = [torch.load(tmp_path / f'whole/iter_{i}.pth', weights_only=True)
             for i in range(1, 7)]
    # mmengine's EMAHook swaps: the average is what is deployed.
    averages = [each['state_dict'] for each in saved]
    weights = [{key.removeprefix('module.'): value for key, value
                in each['ema_state_dict'].items()} for each in saved]
    moves = [any(not torch.equal(now[key], before[key]) for key in parameters)
             for before, now in zip(weights, weights[1:])]
    assert moves == [True, False, True, False, True]
    expected = {key: weights[0][key] for key in parameters}
    for average, now in zip(averages[1:], weights[1:], strict=True):
        for key in parameters:
            expected[key] = torch.lerp(expected[key], now[key], 0.25)
            torch.testing.assert_close(average[key], expected[key])

    leave(tmp_path / 'killed', tmp_path / 'whole', 'iter_4')
    resumed = train(config('killed'), resume=True)
    assert_same(state_of(runner), state_of(resumed))
    mine, theirs = (
        torch.load(tmp_path / f'{name}/iter_6.pth', weights_only=True)
        for name in ('whole', 'killed'))
    assert_same(mine['state_dict'], theirs['state_dict'])


@pytest.mark.parametrize('selector, balancer, with_cp, modules', [
    # The backbone's input needs no gradient, and the neck's is a tuple.
    (PPO, None, False, 'student.backbone'),
    (UNIFORM, dict(type='mmrlkd.GradNorm', lr=0.1), True,
     ['student.neck', 'student.bbox_head']),
], ids=['gradients at the maps', 'gradients at a layer'])
def test_recomputing_changes_nothing(
        run_config, tiny_student, train, state_of, assert_same, monkeypatch,
        selector, balancer, with_cp, modules):
    tiny_student.backbone.norm_eval = True  # or statistics would move twice
    convolve, count = nn.Conv2d.forward, 0

    def counting(self, x):
        nonlocal count
        count += 1
        return convolve(self, x)

    monkeypatch.setattr(nn.Conv2d, 'forward', counting)

    def run(name, **settings):
        nonlocal count
        cfg = run_config(
            name, selector=selector, total=3, validate=False, **settings)
        cfg.model.balancer = balancer
        count = 0
        return state_of(train(cfg)), count

    plain, fewest = run('plain')
    tiny_student.backbone.with_cp = with_cp
    recomputed, more = run('recomputed', activation_checkpointing=modules)
    assert_same(plain, recomputed)
    assert more > fewest


def test_sync_bn_leaves_the_teacher_and_a_process_alone(
        build_distiller, detection_batch):
    def step(convert):
        distiller = build_distiller()
        if convert:  # what the Runner does with sync_bn='torch'
            distiller = convert_sync_batchnorm(distiller, 'torch')
        distiller.train()
        optimizer = build_optim_wrapper(distiller, dict(
            type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)))
        distiller.train_step(copy.deepcopy(detection_batch), optimizer)
        return distiller

    plain, synced = step(False), step(True)
    kinds = {type(module) for module in synced.student.modules()}
    assert nn.SyncBatchNorm in kinds and nn.BatchNorm2d not in kinds
    assert nn.SyncBatchNorm not in {
        type(module) for module
        in synced.distillation.teacher.model.modules()}
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[key], value)
