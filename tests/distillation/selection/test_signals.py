"""Signals against what they are by definition."""

import pytest
import torch

from mmrlkd.distillation.selection.signals import BatchSignals


@pytest.fixture
def setting(build_distiller, detection_batch):
    distiller = build_distiller()
    part = distiller.distillation
    part.running_mean.copy_(torch.tensor([2.0, 0.5, 1.0, 3.0]))
    distiller.eval()  # so that the student's forward can be repeated
    data = distiller.data_preprocessor(detection_batch, True)
    with distiller.tap.recording():
        task = distiller.student(**data, mode='loss')
    maps = distiller.tap.take()
    losses = part.compare(
        maps.levels, part.teacher.extract(data["inputs"]), differentiable=True)
    loss = distiller.parse_losses(task)[0]
    signals = BatchSignals(
        losses, maps, distiller.levels, distiller.adapter, loss,
        describe=lambda name: torch.full((4, ), float(len(name))))
    return distiller, maps, losses, loss, signals


def test_discrepancy_is_every_level_as_it_is_trained(setting):
    distiller, maps, losses, _, signals = setting
    expected = torch.stack([losses.compare(i, m).detach()
                            for i, m in enumerate(maps.levels)], dim=1)
    torch.testing.assert_close(signals.discrepancy(), expected)
    torch.testing.assert_close(
        losses.compute_shares(),
        expected / distiller.distillation.running_mean.sum())


def test_images_are_described_by_whom_it_was_given(setting):
    *_, signals = setting
    assert signals.describe('objects').tolist() == [7., 7., 7., 7.]


def test_alignment_is_a_directional_derivative(setting):
    """⟨∂task/∂F, ∂distil/∂F⟩ is how fast the task loss moves along the
    distillation gradient of one image and level."""
    distiller, maps, losses, task, signals = setting
    got = signals.alignment()
    task_gradients = torch.autograd.grad(task, maps.levels, retain_graph=True)
    for i, (maps_i, g) in enumerate(zip(maps.levels, task_gradients)):
        for sample in range(len(maps_i)):
            leaf = maps_i.detach()[sample:sample + 1].requires_grad_()
            value = losses.compare(i, leaf, torch.tensor([sample]))
            (d,) = torch.autograd.grad(value.sum(), leaf)
            torch.testing.assert_close(
                got[sample, i], (d[0] * g[sample]).sum(), rtol=1e-4, atol=1e-8)


def test_alignment_is_computed_once(setting, monkeypatch):
    *_, signals = setting
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, 'grad', lambda *args, **kwargs: (
        calls.append(1), grad(*args, **kwargs))[1])
    first = signals.alignment()
    needed = len(calls)
    assert needed and signals.alignment().equal(first)
    assert len(calls) == needed


def test_gradients_are_there_where_the_caller_keeps_no_graph(setting):
    *_, signals = setting
    with torch.no_grad():
        assert (signals.alignment() != 0).any()
        everything = torch.ones(4, 4, dtype=torch.bool)
        assert (signals.after_step(everything, 0.05)
                < signals.discrepancy().sum(-1)).all()


def test_no_step_changes_nothing(setting):
    *_, signals = setting
    none = torch.zeros(4, 4, dtype=torch.bool)
    torch.testing.assert_close(
        signals.after_step(none, 0.1), signals.discrepancy().sum(-1))


def test_a_small_step_follows_the_gradient(setting):
    """To first order, all levels: L(after) = L − step·L."""
    *_, signals = setting
    everything = torch.ones(4, 4, dtype=torch.bool)
    left = signals.after_step(everything, 1e-3) / (
        signals.discrepancy().sum(-1))
    torch.testing.assert_close(left, torch.full((4, ), 1 - 1e-3),
                               rtol=0, atol=2e-4)


def test_a_step_on_one_image_leaves_the_others(setting):
    *_, signals = setting
    levels = torch.zeros(4, 4, dtype=torch.bool)
    levels[1] = True
    left = signals.after_step(levels, 0.05) / signals.discrepancy().sum(-1)
    assert left[1] < 1
    torch.testing.assert_close(left[[0, 2, 3]], torch.ones(3))


def test_signals_leave_no_gradient_behind(setting):
    distiller, *_, signals = setting
    signals.alignment()
    signals.after_step(torch.ones(4, 4, dtype=torch.bool), 0.1)
    assert all(p.grad is None for p in distiller.parameters())
