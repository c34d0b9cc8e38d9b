"""The objects that pass between the parts and can do something themselves."""

import torch

from mmrlkd.structures import Boxes

FIRST = torch.tensor([[0., 0., 100., 50.], [20., 10., 50., 30.]])
THIRD = torch.tensor([[50., 25., 75., 50.]])


def test_boxes_are_shares_of_the_image_and_filled_up():
    boxes = Boxes.of([FIRST, torch.zeros(0, 4), THIRD.double()], (50, 100),
                     'cpu')
    assert boxes.corners.dtype == torch.float32
    torch.testing.assert_close(boxes.corners[boxes.valid], torch.tensor(
        [[0., 0., 1., 1.], [0.2, 0.2, 0.5, 0.6], [0.5, 0.5, 0.75, 1.]]))
    assert boxes.valid.tolist() == [[True, True], [False, False],
                                    [True, False]]


def test_images_without_any_box_have_one_that_is_not_valid():
    boxes = Boxes.of([torch.zeros(0, 4)] * 2, (50, 100), 'cpu')
    assert boxes.corners.shape == (2, 1, 4)
    assert not boxes.valid.any()


def test_boxes_of_some_images():
    boxes = Boxes.of([FIRST, torch.zeros(0, 4), THIRD], (50, 100), 'cpu')
    some = boxes.take(torch.tensor([2, 0]))
    assert torch.equal(some.corners, boxes.corners[[2, 0]])
    assert torch.equal(some.valid, boxes.valid[[2, 0]])
    assert boxes.take(None) is boxes
