"""Which level of the student learns from which of the teacher."""

from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.pairs import build_links
from mmrlkd.registry import LOSSES
from mmrlkd.structures import Boxes

NAMES = ('P2', 'P3', 'P4')
MSE = dict(type='mmrlkd.MSELoss')
CONV = dict(type='mmrlkd.ConvConnector')


def levels(*channels):
    return [
        Level(name=name, module='neck', index=i, channels=width,
              size=(8 >> i, 8 >> i), stride=4 << i,
              path=f'neck.fpn_convs.{i}')
        for i, (name, width) in enumerate(zip(NAMES, channels, strict=True))
    ]


def build(recipe, loss=MSE):
    return build_links(levels(3, 4, 5), levels(6, 7, 8), loss, CONV, recipe)


def test_by_default_each_level_learns_from_its_namesake():
    for i, links in enumerate(build({})):
        (link, ) = links
        assert link.teacher == i
        assert link(torch.randn(2, 3 + i, 4, 4),
                    torch.randn(2, 6 + i, 4, 4)).shape == (2, )


def test_a_recipe_says_what_differs():
    first, second, third = build(dict(
        P3=dict(teachers=('P3', 'P4'), loss=dict(type='mmrlkd.CWDLoss')),
        P4=dict(connector=dict(type='mmrlkd.MLPConnector'))))
    assert [link.teacher for link in second] == [1, 2]
    assert second.describe('loss') == 'CWDLoss'
    assert third.describe('connector') == 'MLPConnector'
    assert first.describe('loss') == third.describe('loss') == 'MSELoss'
    # Bridged in width and in size.
    assert second[1](torch.randn(2, 4, 4, 4),
                     torch.randn(2, 8, 2, 2)).shape == (2, )


def test_a_loss_of_maps_of_any_width_needs_no_projection():
    recipe = dict(P3=dict(connector=CONV), P4=dict(loss=MSE))
    links = build(recipe, loss=dict(type='mmrlkd.ATLoss'))
    assert [each.describe('connector') for each in links] == [
        'IdentityConnector', 'ConvConnector', 'ConvConnector']
    assert links[0][0](torch.randn(2, 3, 8, 8),
                       torch.randn(2, 6, 4, 4)).shape == (2, )


def test_a_loss_that_learns_is_as_wide_as_the_teacher():
    for width, (link, ) in zip(
            (6, 7, 8), build({}, loss=dict(type='mmrlkd.MGDLoss')),
            strict=True):
        assert link.loss.generation[0].in_channels == width


def test_boxes_reach_the_loss():
    (link, ), *_ = build({}, loss=dict(type='mmrlkd.FGDLoss', foreground=1.))
    maps = torch.randn(1, 3, 8, 8), torch.randn(1, 6, 8, 8)
    some, none = (
        Boxes.of([torch.tensor([[0., 0., 5., 5.]])[:n]], (8, 8), 'cpu')
        for n in (1, 0))
    assert link(*maps, some) != link(*maps, none)


@pytest.mark.parametrize('name', ['AT', 'CWD', 'FGD', 'MGD', 'MSE', 'PKD'])
def test_every_loss_can_be_counted(name, build_distiller):
    distillation = build_distiller(
        loss=dict(type=f'mmrlkd.{name}Loss')).distillation
    assert all(flops > 0 for flops in distillation.flops.forward) == (
        name != 'AT')  # which has neither projection nor convolution
    assert all(p.grad is None for p in distillation.links.parameters())


@pytest.mark.parametrize(('recipe', 'told'), [
    (dict(P7={}), r"'P7' as a level; accepted: P2, P3, P4"),
    (dict(P2=dict(teachers=['P9'])), r"'P9' as teachers; accepted"),
    (dict(P2=dict(teachers=['P3', 'P3'])), 'names a level twice'),
    (dict(P2=dict(lose=MSE)), r"\['lose'\]; accepted: teachers, loss"),
])
def test_unknown_levels_and_keys_in_a_recipe_are_refused(recipe, told):
    with pytest.raises(ValueError, match=told):
        build(recipe)


@pytest.mark.parametrize('loss', ['PKDLoss', 'CWDLoss'])
def test_maps_of_one_position_are_refused_where_their_loss_is_always_0(loss):
    loss = dict(type=f'mmrlkd.{loss}')
    small = [replace(each, size=(1, 1)) if each.name == 'P4' else each
             for each in levels(6, 7, 8)]
    with pytest.raises(ValueError, match=(
            r"loss of P4 is a .*Loss, .* teacher's P4 has but one .*always be "
            r"0; accepted: another loss in recipe\['P4'\], levels without P4")):
        build_links(levels(3, 4, 5), small, loss, CONV, {})
    build_links(levels(3, 4, 5), small, loss, CONV, dict(P4=dict(loss=MSE)))
    compare = LOSSES.build(loss)
    assert compare(torch.randn(2, 3, 1, 1), torch.randn(2, 3, 1, 1)).abs(
    ).max() == 0
