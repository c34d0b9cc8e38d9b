"""The repairs of the stack, each in an interpreter that has seen no other."""

import subprocess
import sys

import pytest
import torch
from mmengine.config import Config

from mmrlkd import compat


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_task_libraries_import():
    run('import mmrlkd, torchvision.transforms.functional, mmpretrain.datasets, '
        'mmpretrain.models, mmdet.models, mmseg.models')


def test_torchvision_imports_after_torch_and_after_applying_twice():
    run('import torch, mmrlkd, sys\n'
        'from mmrlkd import compat\n'
        'compat.apply()\n'
        'import torchvision\n'
        'compat.apply()\n'
        'assert compat._before_torchvision not in sys.meta_path')


def test_no_declaration_where_torchvision_loads_its_own(monkeypatch):
    """Declaring an operator twice would break a matching torchvision."""
    loaded = []
    monkeypatch.setattr(torch.ops, 'load_library', loaded.append)
    monkeypatch.setattr(compat, '_declared_operators', None)
    compat._declare_torchvision_operators()
    assert [path.name.split('.')[0] for path in loaded] == ['_C']
    assert compat._declared_operators is None


@pytest.mark.parametrize('base', [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmseg::_base_/models/fcn_r50-d8.py',
    'mmpretrain::_base_/models/resnet18.py'])
def test_base_configs_of_the_task_libraries_resolve(base):
    assert 'backbone' in Config.fromstring(f"_base_ = '{base}'", '.py').model


def test_checkpoints_without_a_variant_keep_gradients():
    from mmengine.runner.activation_checkpointing import (
        turn_on_activation_checkpointing,
    )
    from torch.utils.checkpoint import checkpoint

    import mmrlkd.distillation  # noqa: F401

    class Sum(torch.nn.Module):
        def forward(self, pair):
            return pair[0].square() + pair[1]

    model = torch.nn.Sequential(Sum())
    turn_on_activation_checkpointing(model, '0')
    leaf = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(model((leaf, leaf)).sum(), leaf)
    assert gradient.tolist() == [3.0] * 3
    with pytest.raises(RuntimeError, match='use_reentrant'):
        torch.autograd.grad(checkpoint(
            torch.square, leaf, use_reentrant=True).sum(), leaf)


def test_activation_checkpointing_is_repaired_once_and_only_where_needed(
        monkeypatch):
    import torch.utils.checkpoint as torch_checkpoint

    import mmrlkd.distillation  # noqa: F401

    repaired = torch_checkpoint.checkpoint
    compat.checkpoint_without_reentry()
    assert torch_checkpoint.checkpoint is repaired

    def newer(function, *args, use_reentrant=False, **kwargs):
        return function(*args)

    monkeypatch.setattr(torch_checkpoint, 'checkpoint', newer)
    compat.checkpoint_without_reentry()
    assert torch_checkpoint.checkpoint is newer


@pytest.mark.parametrize('installed', [True, False])
def test_mmseg_is_renamed_only_where_its_fork_is_installed(
        monkeypatch, installed):
    from importlib.metadata import PackageNotFoundError

    from mmengine.config.utils import MODULE2PACKAGE
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')

    def distribution(name):
        assert name == 'mmsegmentation'
        if not installed:
            raise PackageNotFoundError(name)

    monkeypatch.setattr(compat, 'distribution', distribution)
    compat._name_packages_for_base_configs()
    assert MODULE2PACKAGE['mmseg'] == (
        'mmsegmentation' if installed else 'mmseg')
