"""Two processes with half the batch each are one with all of it."""

import copy
import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.optim import build_optim_wrapper

from mmrlkd.engine import DistillDataParallel
from mmrlkd.learners.rollout import take
from mmrlkd.registry import MODELS, SELECTORS
from mmrlkd.structures import LevelSpace, Phase, Rollout, State

STEPS = 3


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def in_two_processes(function, *args) -> None:
    mp.start_processes(
        _start, (function, free_port(), *args), nprocs=2, start_method='spawn')


def _start(rank, function, port, *args) -> None:
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=2)
    function(rank, *args)
    dist.destroy_process_group()


@pytest.fixture
def gfl_student(tiny_student):
    """Its head averages over the ranks, and its statistics stand still."""
    tiny_student['type'] = 'GFL'
    tiny_student['backbone']['norm_eval'] = True
    tiny_student['bbox_head'] = dict(
        type='GFLHead', num_classes=10, in_channels=8, feat_channels=8,
        stacked_convs=1, norm_cfg=dict(type='GN', num_groups=2), reg_max=4,
        anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.0], octave_base_scale=4,
            scales_per_octave=1, strides=[4, 8, 16, 32]),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
        loss_dfl=dict(type='DistributionFocalLoss', loss_weight=0.25),
        loss_bbox=dict(type='GIoULoss'))
    tiny_student['train_cfg'] = dict(
        assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1,
        pos_weight=-1, debug=False)
    return tiny_student


def build(cfg, weights):
    model = MODELS.build(copy.deepcopy(cfg))
    model.load_state_dict(weights['student'])
    model.distillation.connectors.load_state_dict(weights['connectors'])
    return model


def train(model, wrapped, batch):
    """Three iterations: all levels, frozen backbone, all again."""
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9)))
    wrapped.train()
    phases = [Phase('a', 1), Phase('b', 1, freeze_backbone=True), Phase('c', 1)]
    for phase in phases:
        model.schedule(phase, 0, 0.0)
        log = wrapped.train_step(copy.deepcopy(batch), optimizer)
    return log


def half(batch, rank):
    return {key: value[2 * rank:2 * rank + 2] for key, value in batch.items()}


def _train_half(rank, cfg, weights, batch, path):
    import mmdet.models  # noqa: F401
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    model = build(cfg, weights)
    log = train(model, DistillDataParallel(model), half(batch, rank))
    if rank == 0:
        torch.save(dict(student=model.state_dict(),
                        connectors=model.distillation.connectors.state_dict(),
                        mean=model.distillation.running_mean,
                        skipped=log['skipped_updates']), path)


@pytest.mark.parametrize('selector', [
    dict(type='mmrlkd.UniformSelector'),
    dict(type='mmrlkd.FixedSelector', levels=['P3']),
], ids=['all levels', 'one level'])
def test_training_equals_one_process(
        gfl_student, tiny_teacher, detection_batch, selector, tmp_path):
    cfg = dict(
        type='mmrlkd.PyramidDistiller', student=gfl_student,
        teacher=tiny_teacher, levels=('P2', 'P3', 'P4', 'P5'),
        selector=selector)
    model = MODELS.build(copy.deepcopy(cfg))
    weights = copy.deepcopy(dict(
        student=model.state_dict(),
        connectors=model.distillation.connectors.state_dict()))
    path = tmp_path / 'two.pth'
    in_two_processes(_train_half, cfg, weights, detection_batch, path)
    two = torch.load(path)
    train(model, model, detection_batch)

    moved = 0
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            two['student'][key], value, rtol=1e-5, atol=1e-5, msg=key)
        moved += not torch.equal(value, weights['student'][key])
    assert moved > 50
    for key, value in model.distillation.connectors.state_dict().items():
        torch.testing.assert_close(
            two['connectors'][key], value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        two['mean'], model.distillation.running_mean, rtol=1e-5, atol=1e-5)


SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4.0, 2.0, 1.0, 0.5), 7.5,
                   (3, ) * 4, 5)


def policy_selector():
    torch.manual_seed(0)
    selector = SELECTORS.build(dict(
        type='mmrlkd.PolicySelector', horizon=2,
        policy=dict(type='mmrlkd.LSTMPolicy', hidden=8),
        learner=dict(type='mmrlkd.PPO', epochs=2, minibatches=1, lr=0.01)))
    selector.bind(SPACE)
    return selector


def some_rollout() -> Rollout:
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    return Rollout(
        states=State(
            random(2, 8, 5), random(2, 8, 12), random(2, 8).abs(),
            random(2, 8, 4) > 0, random(2, 8).sigmoid(),
            torch.arange(2)[:, None].expand(2, 8)),
        actions=torch.randint(1, 16, (2, 8), generator=generator),
        feasible=torch.ones(2, 8, 16, dtype=torch.bool),
        log_probs=torch.full((2, 8), -2.7), values=random(2, 8),
        rewards=random(2, 8))


def _update_half(rank, path):
    selector = policy_selector()
    mine = take(some_rollout(), torch.arange(4 * rank, 4 * rank + 4))
    selector.learner.update(mine)
    if rank == 0:
        torch.save(selector.policy.state_dict(), path)


def test_ppo_on_two_ranks_equals_one(tmp_path):
    in_two_processes(_update_half, tmp_path / 'policy.pth')
    two = torch.load(tmp_path / 'policy.pth')
    selector = policy_selector()
    before = copy.deepcopy(selector.policy.state_dict())
    selector.learner.update(some_rollout())
    for key, value in selector.policy.state_dict().items():
        torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-5)
    assert any(not torch.equal(value, before[key])
               for key, value in selector.policy.state_dict().items())


def _skip_together(rank, cfg, weights, batch, path):
    import mmdet.models  # noqa: F401
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    model = build(cfg, weights)
    mine = half(batch, rank)
    if rank == 1:
        mine['inputs'] = [torch.full(i.shape, float('nan'))
                          for i in mine['inputs']]
    wrapped = DistillDataParallel(model)
    wrapped.train()
    log = wrapped.train_step(mine, build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))))
    torch.save(dict(student=model.state_dict(),
                    skipped=log['skipped_updates']), f'{path}_{rank}')


def test_a_nan_on_one_rank_skips_on_both(
        gfl_student, tiny_teacher, detection_batch, tmp_path):
    cfg = dict(
        type='mmrlkd.PyramidDistiller', student=gfl_student,
        teacher=tiny_teacher, levels=('P2', 'P3', 'P4', 'P5'),
        selector=dict(type='mmrlkd.UniformSelector'))
    model = MODELS.build(copy.deepcopy(cfg))
    weights = copy.deepcopy(dict(
        student=model.state_dict(),
        connectors=model.distillation.connectors.state_dict()))
    in_two_processes(
        _skip_together, cfg, weights, detection_batch, tmp_path / 'rank')
    for rank in range(2):
        saved = torch.load(tmp_path / f'rank_{rank}')
        assert saved['skipped'] == 1
        for key, value in weights['student'].items():
            assert torch.equal(saved['student'][key], value), key
