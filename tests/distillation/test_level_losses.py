"""Losses are computed where they are required, and nowhere else."""

import pytest
import torch
from torch import nn

from mmrlkd.distillation.connectors import ConvConnector
from mmrlkd.distillation.level_losses import LevelLosses
from mmrlkd.distillation.losses import MSELoss
from mmrlkd.distillation.pairs import LevelLinks, Link

BATCH, SIZES = 5, (8, 4, 2)


class Teacher:
    """Remembers which samples of which level it was asked for."""

    def __init__(self) -> None:
        self.maps = [torch.randn(BATCH, 6, s, s) for s in SIZES]
        self.asked: list[tuple[int, list[int]]] = []
        self.computed = [0] * len(SIZES)

    def level(self, i, index=None):
        rows = list(range(BATCH)) if index is None else index.tolist()
        self.asked.append((i, rows))
        return self.maps[i] if index is None else self.maps[i][index]


@pytest.fixture
def setting():
    teacher = Teacher()
    maps = [torch.randn(BATCH, 4, s, s, requires_grad=True) for s in SIZES]
    links = nn.ModuleList(
        LevelLinks([Link(i, ConvConnector(4, 6), MSELoss())])
        for i in range(len(SIZES)))
    scale = torch.tensor([2.0, 1.0, 0.5])

    def build(differentiable=True):
        return LevelLosses(maps, teacher, links, scale, differentiable)

    return build, maps, teacher, links, scale


def mask(*cells):
    levels = torch.zeros(BATCH, len(SIZES), dtype=torch.bool)
    for sample, level in cells:
        levels[sample, level] = True
    return levels


def weighted(losses, levels, weights):
    return torch.stack(losses.terms(levels, weights * levels))


def test_only_required_cells_reach_the_teacher(setting):
    build, _, teacher, _, _ = setting
    losses = build()
    losses.compute(mask((0, 0), (3, 0), (4, 2)))
    assert teacher.asked == [(0, [0, 3]), (2, [4])]
    losses.compute(mask((0, 0), (1, 0), (4, 2)))
    assert teacher.asked[2:] == [(0, [1])], 'a known cell was computed again'


def test_nothing_selected_computes_nothing(setting):
    build, _, teacher, _, _ = setting
    losses = build()
    assert not losses.compute(mask()).any()
    assert not teacher.asked
    assert not weighted(losses, mask(), torch.zeros(BATCH, 3)).any()


def test_a_subset_equals_all_and_a_mask(setting):
    build, maps, _, links, _ = setting
    levels = torch.rand(BATCH, 3) < 0.5
    weights = torch.rand(BATCH, 3) * levels
    parameters = [*maps, *links.parameters()]

    some = build()
    some.compute(levels)
    total = weighted(some, levels, weights)
    everything = build()
    everything.compute(torch.ones_like(levels))
    masked = weighted(everything, levels, weights)

    torch.testing.assert_close(total, masked)
    for mine, theirs in zip(
            torch.autograd.grad(total.sum(), parameters, allow_unused=True,
                                materialize_grads=True),
            torch.autograd.grad(masked.sum(), parameters)):
        torch.testing.assert_close(mine, theirs)


def test_losses_are_returned_in_units_of_the_running_mean(setting):
    build, _, _, _, scale = setting
    losses = build()
    normalised = losses.compute(torch.ones(BATCH, 3, dtype=torch.bool))
    torch.testing.assert_close(normalised * scale, losses.values())
    assert not normalised.requires_grad
    torch.testing.assert_close(
        losses.compute_shares() * scale.sum(), losses.values())


@pytest.mark.parametrize('graph', [True, False])
def test_it_knows_whether_all_was_computed_whatever_is_selected(setting, graph):
    build, *_ = setting
    losses = build()
    losses.compute(torch.ones(BATCH, 3, dtype=torch.bool))
    assert losses.known.all() and not losses.computed_all
    losses.compute_all(graph)
    assert losses.computed_all


@pytest.mark.parametrize('graph', [True, False])
def test_a_level_that_nobody_selected_is_not_backpropagated(setting, graph):
    build, maps, _, links, _ = setting
    losses, levels = build(), mask((0, 0))
    if not graph:  # otherwise asked for before the choice, as GRPO does
        losses.compute(levels)
    assert (losses.compute_all(graph) > 0).all()
    losses.compute(levels)
    gradients = torch.autograd.grad(
        weighted(losses, levels, torch.ones(BATCH, 3)).sum(),
        [*maps, *links.parameters()], allow_unused=True)
    assert gradients[1] is None and gradients[2] is None
    assert gradients[0][0].abs().sum() > 0 and not gradients[0][1:].any()
    reached = [gradient is not None for gradient in gradients[3:]]
    own = len(list(links[0].parameters()))
    assert reached == [True] * own + [False] * (len(reached) - own)
    assert losses.work(levels).backward == (BATCH if graph else 1, 0, 0)


def test_what_a_selector_asks_for_is_computed_once(setting):
    build, _, teacher, links, _ = setting
    losses, calls = build(), []
    for link in (link for links_of_level in links for link in links_of_level):
        link.loss.register_forward_hook(lambda *_: calls.append(1))
    losses.compute_all()
    losses.compute(mask((0, 0), (2, 1), (4, 2)))
    assert len(calls) == len(teacher.asked) == 3


def test_without_gradients_no_graph_is_kept(setting):
    build, _, _, _, _ = setting
    losses = build(differentiable=False)
    losses.compute(mask((0, 0), (1, 1)))
    assert not weighted(
        losses, losses.known, torch.ones(BATCH, 3)).requires_grad


def test_what_was_computed_without_graph_can_still_be_trained_on(setting):
    build, maps, _, _, _ = setting
    levels, weights = mask((0, 0), (2, 1)), torch.rand(BATCH, 3)
    looked_at, plain = build(), build()
    looked_at.compute_all(graph=False)
    for losses in (looked_at, plain):
        losses.compute(levels)
    gradients = [
        torch.autograd.grad(weighted(losses, levels, weights).sum(), maps[:2])
        for losses in (looked_at, plain)
    ]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert looked_at.work(levels).backward == plain.work(levels).backward
    # Whatever else was computed, this is what the selected cells take.
    assert looked_at.work_of(levels) == plain.work_of(levels)
    assert (plain.work_of(levels).forward == plain.work(levels).forward
            == (1, 1, 0))


def test_without_gradients_terms_reuse_the_values(setting):
    build, _, teacher, _, _ = setting
    everything, weights = torch.ones(BATCH, 3, dtype=torch.bool), torch.rand(
        BATCH, 3)
    looked_at, plain = build(False), build(False)
    looked_at.compute_all()
    asked = len(teacher.asked)
    looked_at.compute(everything)
    assert len(teacher.asked) == asked
    plain.compute(everything)
    torch.testing.assert_close(
        weighted(looked_at, everything, weights),
        weighted(plain, everything, weights))


def test_a_level_learns_from_several_of_the_teachers(setting):
    _, maps, teacher, links, scale = setting
    links[0].append(Link(1, ConvConnector(4, 6), MSELoss()))
    losses = LevelLosses(maps, teacher, links, scale, differentiable=True)
    losses.compute(mask((2, 0)))
    row = torch.tensor([2])
    apart = [link(maps[0][row], teacher.maps[j][row])
             for j, link in enumerate(links[0])]
    torch.testing.assert_close(losses.values()[2, 0], sum(apart)[0] / 2)
    assert teacher.asked == [(0, [2]), (1, [2])]
