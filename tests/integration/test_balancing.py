"""Whole runs with a balancer: switched on, logged, saved, resumed, drawn."""

import functools
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim.optimizer import amp_optimizer_wrapper

from mmrlkd.config.student import student_config
from mmrlkd.engine import GradNormHook
from mmrlkd.registry import BALANCERS, HOOKS

BALANCERS.import_from_location()
RANDOM = dict(type='mmrlkd.RandomSelector', cost=3.0)
MEMBERS = {
    'uniform': dict(type='mmrlkd.UniformBalancer', report_every=2),
    'fixed': dict(type='mmrlkd.FixedBalancer',
                  weights=dict(P2=1, P3=1, P4=2, P5=2)),
    'GradNorm': dict(type='mmrlkd.GradNorm', lr=0.1, report_every=2),
    'EMA, with the task': dict(type='mmrlkd.EMABalancer', include_task=True),
    'PCGrad': dict(type='mmrlkd.PCGrad'),
    'torchjd': dict(type='mmrlkd.TorchJDBalancer'),
}


def test_nobody_is_missing():
    assert {m['type'] for m in MEMBERS.values()} == {
        f'mmrlkd.{name}' for name, member in BALANCERS.module_dict.items()
        if member.__module__.startswith('mmrlkd.')}


@pytest.mark.parametrize('name', MEMBERS)
def test_three_iterations_and_a_resume(
        name, run_config, train, leave, state_of, assert_same, logged,
        tmp_path):
    """With levels drawn for each image, clipping and accumulation."""
    if name == 'torchjd':
        pytest.importorskip('torchjd')

    def config(name_of_run):
        cfg = run_config(
            name_of_run, selector=RANDOM, total=3, validate=False, phases=[
                dict(name='pretrain', share=1 / 3),
                dict(name='search', share=2 / 3)])
        cfg.model.balancer = MEMBERS[name]
        cfg.optim_wrapper.accumulative_counts = 2
        return cfg

    whole = train(config('whole'))
    lines = logged(tmp_path / 'whole')
    assert len(lines) == 3
    for line in lines:
        assert line['skipped_updates'] == line['balance.skipped'] == 0
        weights = [line[f'balance.P{i}'] for i in range(2, 6)]
        if whole.model.balancing.balancer.stateful:
            weights.append(line.get('balance.task', 0))
            assert sum(weights) == pytest.approx(4 + ('task' in name), rel=1e-4)
    assert ('gradient_norm.task' in lines[-1]) == (
        'report_every' in MEMBERS[name])
    leave(tmp_path / 'killed', tmp_path / 'whole', 'iter_2')
    resumed = train(config('killed'), resume=True)
    assert_same(state_of(whole), state_of(resumed))


@pytest.fixture
def balanced(run_config):
    """A run in the phases of the method, GradNorm by config or by hook."""

    def build(name, hook=False, **settings):
        cfg = run_config(name, validate=False)
        settings = dict(lr=0.1, report_every=2) | settings
        if hook:
            cfg.custom_hooks.append(
                dict(type='mmrlkd.GradNormHook', **settings))
        else:
            cfg.model.balancer = dict(type='mmrlkd.GradNorm', **settings)
        return cfg

    return build


def test_the_hook_is_the_config_and_resumes_in_every_phase(
        balanced, train, leave, state_of, assert_same, logged, tmp_path):
    by_config = state_of(train(balanced('config')))
    assert_same(by_config, state_of(train(balanced('hook', hook=True))))
    lines = logged(tmp_path / 'hook')
    weights = [line.get('balance.P2') for line in lines]
    # Two of pretraining, four of the frozen phase, two of finetuning.
    assert len({*weights[:2], *weights[-2:]}) == 4
    assert set(weights[2:6]) <= {weights[1], None}
    for killed_after in 1, 5:
        killed = f'killed_{killed_after}'
        leave(tmp_path / killed, tmp_path / 'hook', f'iter_{killed_after}')
        assert_same(by_config, state_of(
            train(balanced(killed, hook=True), resume=True)))


class Poison(Hook):
    """An inf in the gradients of the first iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        conv = runner.model.student.neck.fpn_convs[1].conv
        if runner.iter == 0:
            self.handle = conv.register_full_backward_pre_hook(
                lambda _, taken: (torch.full_like(taken[0], torch.inf), ))
        else:
            self.handle.remove()


def test_mixed_precision_clipping_and_accumulation_together(
        balanced, train, logged, tmp_path, monkeypatch):
    """… through torch's CPU grad scaler, and an overflow."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available',
                        lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler',
                        functools.partial(torch.amp.GradScaler, 'cpu'))
    HOOKS.register_module(module=Poison)
    cfg = balanced('amp', hook=True)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks
                        if hook['type'] != 'mmrlkd.PhaseHook']
    cfg.custom_hooks.append(dict(type='mmrlkd.Poison'))
    cfg.train_cfg.max_iters = 8
    cfg.optim_wrapper.update(
        type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=2,
        loss_scale=dict(init_scale=2.0**12))
    runner = train(cfg)
    lines = logged(tmp_path / 'amp')
    assert [line['balance.skipped'] for line in lines] == [1] * 8
    assert [line['skipped_updates'] for line in lines] == [0] + [1] * 7
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2**11
    assert lines[0]['balance.P2'] == 1
    assert len({line['balance.P2'] for line in lines}) == 8
    for line in lines:
        assert sum(line[f'balance.P{i}'] for i in range(2, 6)) == (
            pytest.approx(4, rel=1e-4))


def test_the_hook_refuses_bad_arguments_and_a_second_balancer(
        balanced, train):
    with pytest.raises(ValueError, match=r'GradNorm: alpha=-1; accepted'):
        GradNormHook(alpha=-1)
    cfg = balanced('twice', hook=True)
    cfg.model.balancer = dict(type='mmrlkd.EMABalancer')
    with pytest.raises(ValueError, match='beside the EMABalancer that there'):
        train(cfg)


def test_the_student_alone_needs_no_balancer(balanced):
    plain = student_config(balanced('run', hook=True))
    assert not any('GradNorm' in hook['type'] for hook in plain.custom_hooks)


@pytest.fixture(scope='module')
def tool():
    path = Path(__file__).parents[2] / 'tools/analysis/weight_evolution.py'
    spec = importlib.util.spec_from_file_location('weight_evolution', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_evolution_is_drawn_from_the_logs(
        balanced, train, tmp_path, tool, capsys):
    train(balanced('run'))
    tool.main([str(tmp_path / 'run')])
    out = tmp_path / 'run/weights.png'
    assert out.read_bytes().startswith(b'\x89PNG')
    assert f'{out} is written.' in capsys.readouterr().out
    (panel, norms) = tool.weights.draw(
        tool.read_training(tmp_path / 'run')).axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert {'P2', 'P3', 'P4', 'P5'} <= lines.keys()
    total = sum(lines[f'P{i}'].get_ydata() for i in range(2, 6))
    assert total == pytest.approx([4.0] * len(total), rel=1e-4)
    assert 'task' in {line.get_label() for line in norms.get_lines()}

    (tmp_path / 'plain').mkdir()
    with pytest.raises(SystemExit, match='the run balanced nothing; accepted'):
        tool.main([str(tmp_path / 'plain')])
