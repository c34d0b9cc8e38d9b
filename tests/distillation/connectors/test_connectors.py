"""Bridges between maps of different width and size."""

import pytest
import torch

from mmrlkd.distillation.connectors import IdentityConnector
from mmrlkd.registry import CONNECTORS

CONNECTORS.import_from_location()


@pytest.fixture(params=sorted(CONNECTORS.module_dict))
def build(request):
    return lambda mine, theirs: CONNECTORS.build(
        dict(type=f'mmrlkd.{request.param}', student_channels=mine,
             teacher_channels=theirs))


@pytest.mark.parametrize('mine, theirs', [(4, 4), (4, 6), (6, 4)])
@pytest.mark.parametrize('size', [(5, 7), (10, 14), (3, 4)])
def test_the_output_has_the_teachers_shape(build, mine, theirs, size):
    maps = torch.randn(2, mine, 5, 7)
    connector = build(mine, theirs)
    width = mine if isinstance(connector, IdentityConnector) else theirs
    assert connector(maps, size).shape == (2, width, *size)


@pytest.mark.parametrize(('name', 'theirs'), [
    ('ConvConnector', 4), ('IdentityConnector', 4), ('IdentityConnector', 6)])
def test_equal_widths_and_sizes_pass_unchanged(name, theirs):
    maps = torch.randn(2, 4, 5, 7)
    connector = CONNECTORS.build(dict(
        type=f'mmrlkd.{name}', student_channels=4, teacher_channels=theirs))
    assert not list(connector.parameters())
    assert torch.equal(connector(maps, (5, 7)), maps)


def test_an_identity_resizes():
    maps = torch.tensor([[1., 3.]]).expand(1, 2, 2, 2)
    connector = IdentityConnector(2, 5)
    assert torch.equal(connector(maps, (1, 1)), torch.full((1, 2, 1, 1), 2.))


def test_samples_do_not_mix(build):
    maps = torch.randn(3, 4, 5, 7)
    connector = build(4, 6)
    torch.testing.assert_close(
        connector(maps[1:2], (10, 14)), connector(maps, (10, 14))[1:2])
