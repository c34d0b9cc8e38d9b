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
    assert torch.isfinite(log['policy/approx_kl'])
    assert distiller.distillation.running_mean.is_cuda
