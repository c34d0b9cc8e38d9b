"""Joining processes where no GPU is visible."""

from datetime import timedelta

import pytest
import torch
from mmengine.config import Config

from mmrlkd.config.student import student_config
from mmrlkd.engine import processes
from mmrlkd.engine.processes import join_processes


@pytest.fixture
def joined(monkeypatch):
    """How a machine without GPU joined: (backend, timeout) of each call."""
    calls = []
    monkeypatch.setattr(processes, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(
        torch.distributed, 'init_process_group',
        lambda backend, timeout: calls.append((backend, timeout)))
    return calls


def test_a_distiller_keeps_its_wrapper(run_config, joined):
    wrapper = dict(type='mmrlkd.DistillDataParallel')
    cfg = run_config(
        launcher='pytorch', model_wrapper_cfg=wrapper,
        env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=90)))
    # The teacher is wrapped by nothing, and never trains.
    cfg.model.teacher.config.backbone.norm_cfg.type = 'SyncBN'
    join_processes(cfg)
    assert joined == [('gloo', timedelta(seconds=90))]
    assert cfg.model_wrapper_cfg == wrapper


def test_a_plain_model_is_wrapped_without_a_gpu(run_config, joined):
    cfg = Config(student_config(run_config(launcher='pytorch')).to_dict())
    join_processes(cfg)
    assert joined == [('gloo', None)]
    assert cfg.model_wrapper_cfg.type == 'MMDistributedDataParallel'
    assert cfg.model_wrapper_cfg.device_ids is None


def test_mmengine_joins_on_gpus_and_one_process_joins_nothing(
        run_config, joined, monkeypatch):
    join_processes(run_config())
    monkeypatch.setattr(processes, 'get_device', lambda: 'cuda')
    cfg = run_config(launcher='slurm', sync_bn='torch')
    join_processes(cfg)
    assert not joined and 'model_wrapper_cfg' not in cfg


def test_what_needs_gpus_is_refused(run_config, joined):
    def refused(sentence, **settings):
        cfg = run_config(**settings)
        with pytest.raises(ValueError, match=sentence):
            join_processes(cfg)
        return cfg

    refused('--launcher slurm needs GPUs and none is', launcher='slurm')
    cfg = refused("sync_bn is 'torch', which needs GPUs", launcher='pytorch',
                  sync_bn='torch')
    cfg.model.student.backbone.norm_cfg.type = 'SyncBN'
    cfg.sync_bn = None
    with pytest.raises(ValueError, match="norm_cfg.type is 'SyncBN', which"):
        join_processes(cfg)
    assert not joined
