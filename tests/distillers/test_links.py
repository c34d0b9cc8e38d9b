"""Which level of the student learns from which of the teacher."""

import pytest
import torch

from mmrlkd.distillers.links import build_links
from mmrlkd.distillers.pyramid import Level

NAMES = ('P2', 'P3', 'P4')
MSE = dict(type='mmrlkd.MSELoss')
CONV = dict(type='mmrlkd.ConvConnector')


def levels(*channels):
    return [
        Level(name=name, module='neck', index=i, channels=width,
              size=(8 >> i, 8 >> i))
        for i, (name, width) in enumerate(zip(NAMES, channels, strict=True))
    ]


def build(recipe):
    return build_links(levels(3, 4, 5), levels(6, 7, 8), MSE, CONV, recipe)


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


@pytest.mark.parametrize(('recipe', 'told'), [
    (dict(P7={}), r"'P7' as a level; accepted: P2, P3, P4"),
    (dict(P2=dict(teachers=['P9'])), r"'P9' as teachers; accepted"),
    (dict(P2=dict(teachers=['P3', 'P3'])), 'names a level twice'),
    (dict(P2=dict(lose=MSE)), r"\['lose'\]; accepted: teachers, loss"),
])
def test_what_there_is_not_is_refused(recipe, told):
    with pytest.raises(ValueError, match=told):
        build(recipe)
