"""What only a GPU can show."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper


@pytest.mark.gpu
@pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper'])
def test_a_policy_trains_on_the_gpu(build_distiller, detection_batch, kind):
    distiller = build_distiller(selector=dict(
        type='mmrlkd.PolicySelector', rollout_batches=2)).cuda().train()
    optimizer = build_optim_wrapper(distiller, dict(
        type=kind, optimizer=dict(type='SGD', lr=1e-4)))
    for _ in range(4):
        log = distiller.train_step(copy.deepcopy(detection_batch), optimizer)
    assert torch.isfinite(log['loss']) and log['skipped_updates'] == 0
    assert torch.isfinite(log['policy.approx_kl'])
    assert distiller.distillation.running_mean.is_cuda


@pytest.mark.gpu
@pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper'])
@pytest.mark.parametrize('balancer', ['GradNorm', 'EMABalancer', 'PCGrad'])
def test_levels_are_balanced_on_the_gpu(
        build_distiller, detection_batch, kind, balancer):
    distiller = build_distiller(balancer=dict(
        type=f'mmrlkd.{balancer}', report_every=1)).cuda().train()
    optimizer = build_optim_wrapper(distiller, dict(
        type=kind, optimizer=dict(type='SGD', lr=1e-4)))
    for _ in range(4):
        log = distiller.train_step(copy.deepcopy(detection_batch), optimizer)
    assert torch.isfinite(log['loss'])
    assert log['balance.P2'].is_cuda
    # The first scales of mixed precision may overflow, and skip both.
    assert log['balance.skipped'] <= log['skipped_updates']
