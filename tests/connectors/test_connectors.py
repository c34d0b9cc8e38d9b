"""Bridges between maps of different width and size."""

import pytest
import torch

from mmrlkd.registry import CONNECTORS

CONNECTORS.import_from_location()


@pytest.fixture(params=sorted(CONNECTORS.module_dict))
def build(request):
    return lambda mine, theirs: CONNECTORS.build(
        dict(type=f'mmrlkd.{request.param}', student_channels=mine,
             teacher_channels=theirs))


@pytest.mark.parametrize('mine, theirs', [(4, 4), (4, 6), (6, 4)])
@pytest.mark.parametrize('size', [(5, 7), (10, 14), (3, 4)])
def test_reaches_the_teachers_shape(build, mine, theirs, size):
    maps = torch.randn(2, mine, 5, 7)
    assert build(mine, theirs)(maps, size).shape == (2, theirs, *size)


def test_a_convolution_leaves_equal_shapes_alone():
    maps = torch.randn(2, 4, 5, 7)
    connector = CONNECTORS.build(dict(
        type='mmrlkd.ConvConnector', student_channels=4, teacher_channels=4))
    assert not list(connector.parameters())
    assert torch.equal(connector(maps, (5, 7)), maps)


def test_samples_do_not_mix(build):
    maps = torch.randn(3, 4, 5, 7)
    connector = build(4, 6)
    torch.testing.assert_close(
        connector(maps[1:2], (10, 14)), connector(maps, (10, 14))[1:2])
