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


def test_only_required_cells_reach_the_teacher(setting):
    build, _, teacher, _, _ = setting
    losses = build()
    losses.compute(mask((0, 0), (3, 0), (4, 2)))
    assert teacher.asked == [(0, [0, 3]), (2, [4])]
    losses.compute(mask((0, 0), (1, 0), (4, 2)))
    assert teacher.asked[2:] == [(0, [1])], 'a known cell was computed again'


def test_nothing_required_computes_nothing(setting):
    build, _, teacher, _, _ = setting
    losses = build()
    assert not losses.compute(mask()).any()
    assert not teacher.asked
    assert not losses.weighted(torch.zeros(BATCH, 3)).any()


def test_a_subset_equals_all_and_a_mask(setting):
    build, maps, _, links, _ = setting
    levels = torch.rand(BATCH, 3) < 0.5
    weights = torch.rand(BATCH, 3) * levels
    parameters = [*maps, *links.parameters()]

    some = build()
    some.compute(levels)
    total = some.weighted(weights)
    everything = build()
    everything.compute(torch.ones_like(levels))
    masked = everything.weighted(weights)

    torch.testing.assert_close(total, masked)
    for mine, theirs in zip(
            torch.autograd.grad(total.sum(), parameters, allow_unused=True,
                                materialize_grads=True),
            torch.autograd.grad(masked.sum(), parameters)):
        torch.testing.assert_close(mine, theirs)


def test_in_units_of_the_running_mean(setting):
    build, _, _, _, scale = setting
    losses = build()
    normalised = losses.compute(torch.ones(BATCH, 3, dtype=torch.bool))
    torch.testing.assert_close(normalised * scale, losses.values())
    assert not normalised.requires_grad


def test_surveying_adds_no_gradient_and_no_weight(setting):
    build, maps, _, _, _ = setting
    losses = build()
    losses.compute(mask((0, 0)))
    surveyed = losses.compute_all()
    assert (surveyed > 0).all()
    gradient = torch.autograd.grad(
        losses.weighted(torch.ones(BATCH, 3)).sum(), maps,
        allow_unused=True)
    assert gradient[1] is None and gradient[2] is None
    assert gradient[0][0].abs().sum() > 0 and not gradient[0][1:].any()


def test_without_gradients_no_graph_is_kept(setting):
    build, _, _, _, _ = setting
    losses = build(differentiable=False)
    losses.compute(mask((0, 0), (1, 1)))
    assert not losses.weighted(torch.ones(BATCH, 3)).requires_grad


def test_what_was_surveyed_can_still_be_required(setting):
    build, maps, _, _, _ = setting
    levels, weights = mask((0, 0), (2, 1)), torch.rand(BATCH, 3)
    weights *= levels
    surveyed, plain = build(), build()
    surveyed.compute_all()
    for losses in (surveyed, plain):
        losses.compute(levels)
    gradients = [
        torch.autograd.grad(losses.weighted(weights).sum(), maps[:2])
        for losses in (surveyed, plain)
    ]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert surveyed.work.backward == plain.work.backward
    # Whatever else was looked at, this is what the required cells take.
    assert surveyed.required_work == plain.required_work
    assert plain.required_work.forward == plain.work.forward == (1, 1, 0)


def test_without_gradients_a_survey_is_enough(setting):
    build, _, teacher, _, _ = setting
    weights = torch.rand(BATCH, 3)
    surveyed, plain = build(False), build(False)
    surveyed.compute_all()
    asked = len(teacher.asked)
    surveyed.compute(torch.ones(BATCH, 3, dtype=torch.bool))
    assert len(teacher.asked) == asked
    plain.compute(torch.ones(BATCH, 3, dtype=torch.bool))
    torch.testing.assert_close(
        surveyed.weighted(weights), plain.weighted(weights))


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
