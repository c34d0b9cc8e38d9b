"""Focal and global distillation, against the formulas written out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrlkd.distillation.losses import FGDLoss
from mmrlkd.distillation.losses.fgd import box_mask
from mmrlkd.distillation.losses.gc_block import GcBlock
from mmrlkd.structures import Boxes

IMAGE = (30, 40)
BOXES = [
    [[10., 0., 20., 9.], [0., 0., 40., 30.]],  # a small one on a large one
    [],
    [[3., 11., 38., 29.]],
]


def boxes(each=BOXES):
    return Boxes.of(
        [torch.tensor(b).reshape(-1, 4) for b in each], IMAGE, 'cpu')


def built(**weights):
    """With the weights named, and 0 for the others."""
    none = dict(foreground=0., background=0., attention=0., relation=0.)
    loss = FGDLoss(**{**none, **weights})
    loss.bind(6)
    return loss


def maps():
    return torch.randn(2, 3, 6, 3, 5).unbind()


def reference(student, teacher, corners, tau):
    """The four parts of one sample's loss, position by position."""
    C, H, W = teacher.shape
    objects, background = np.zeros((H, W)), np.ones((H, W))
    for x1, y1, x2, y2 in corners:
        columns = range(math.floor(x1 / IMAGE[1] * W),
                        math.ceil(x2 / IMAGE[1] * W) + 1)
        rows = range(math.floor(y1 / IMAGE[0] * H),
                     math.ceil(y2 / IMAGE[0] * H) + 1)
        for i in set(rows) & set(range(H)):
            for j in set(columns) & set(range(W)):
                objects[i, j] = max(
                    objects[i, j], 1 / len(rows) / len(columns))
                background[i, j] = 0
    if background.sum():
        background /= background.sum()

    def attention(maps):
        where = np.exp(np.abs(maps).mean(0) / tau)
        which = np.exp(np.abs(maps).mean((1, 2)) / tau)
        return H * W * where / where.sum(), C * which / which.sum()

    (where, which), (mine, my_which) = attention(teacher), attention(student)
    parts = np.zeros(4)
    for k in range(C):
        for i in range(H):
            for j in range(W):
                squared = (student[k, i, j] - teacher[k, i, j])**2
                focal = squared * where[i, j] * which[k]
                parts += [focal * objects[i, j], focal * background[i, j],
                          0, squared]
    parts[2] = np.abs(mine - where).sum() + np.abs(my_which - which).sum()
    return parts


@pytest.mark.parametrize('tau', [0.5, 2.0])
@pytest.mark.parametrize('part', range(4))
def test_each_part_is_its_formula(part, tau):
    # The relation blocks begin as the identity.
    name = ('foreground', 'background', 'attention', 'relation')[part]
    student, teacher = maps()
    value = built(tau=tau, **{name: 2.})(student, teacher, boxes())
    expected = [
        2 * reference(s, t, corners, tau)[part] for s, t, corners in zip(
            student.double().numpy(), teacher.double().numpy(), BOXES,
            strict=True)]
    torch.testing.assert_close(
        value.double(), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert (value[1] == 0) == (part == 0)  # the image without objects
    assert (value[0] == 0) == (part == 1)  # the one that is full of them


def test_the_parts_are_added_by_the_authors_weights():
    student, teacher = maps()
    loss = FGDLoss()
    loss.bind(6)
    expected = [
        reference(s, t, corners, 0.5) @ [0.001, 0.0005, 0.001, 0.000005]
        for s, t, corners in zip(
            student.double().numpy(), teacher.double().numpy(), BOXES,
            strict=True)]
    torch.testing.assert_close(
        loss(student, teacher, boxes()).double(), torch.tensor(expected),
        rtol=1e-4, atol=1e-7)


def test_the_mask_of_boxes_equals_one_by_hand():
    # Of 3 × 4 cells, the small box has x 1 to 2 and y 0 to 0.9; with floor and
    # ceil of both, 2 × 2. The large one, 0 to 4 and 0 to 3, has 5 × 4.
    a, b = 1 / 4, 1 / 20
    torch.testing.assert_close(
        box_mask(boxes(BOXES[:2]), (3, 4)), torch.tensor([
            [[b, a, a, b], [b, a, a, b], [b, b, b, b]], [[0.] * 4] * 3]))


def test_what_is_not_valid_is_not_looked_at():
    anywhere = replace(boxes(), corners=boxes().corners.where(
        boxes().valid[..., None], torch.tensor([0.2, 0.2, 0.6, 0.9])))
    assert not torch.equal(anywhere.corners, boxes().corners)
    assert torch.equal(box_mask(anywhere, (6, 8)), box_mask(boxes(), (6, 8)))


def randomised(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def test_relation_block_is_its_formula():
    block = randomised(GcBlock(6))
    maps = torch.randn(2, 6, 3, 5)
    first, norm, _, second = block.transform
    with torch.no_grad():
        for one, whole in zip(maps, block(maps), strict=True):
            flat = one.reshape(6, 15)
            scores = (block.weigh.weight.view(6) @ flat).exp()
            context = (flat * scores / scores.sum()).sum(dim=1)
            hidden = first.weight @ context + first.bias
            spread = ((hidden - hidden.mean())**2).mean().sqrt()
            hidden = (hidden - hidden.mean()) / spread * norm.weight + norm.bias
            added = second.weight @ hidden.clamp_min(0) + second.bias
            torch.testing.assert_close(
                whole, one + added.view(6, 1, 1), rtol=1e-3, atol=1e-3)


def test_relation_compares_what_two_trained_blocks_give():
    loss = randomised(built(relation=1.))
    student, teacher = maps()
    value = loss(student, teacher, boxes())
    torch.testing.assert_close(value, (
        loss.student_block(student) - loss.teacher_block(teacher)
    ).square().sum(dim=(1, 2, 3)))
    value.sum().backward()
    for name, parameter in loss.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(('option', 'told'), [
    (dict(tau=0), 'FGDLoss: tau=0; accepted: a number > 0'),
    (dict(attention=-1), 'FGDLoss: attention=-1; accepted: a number >= 0'),
])
def test_refuses_options_out_of_range(option, told):
    with pytest.raises(ValueError, match=told):
        FGDLoss(**option)


def test_says_that_it_was_not_bound():
    with pytest.raises(RuntimeError, match=r'accepted: bind\(channels\)'):
        FGDLoss()(*maps(), boxes())
