"""Descriptors say what they claim to, of images whose answer is known."""

import math
from types import SimpleNamespace

import pytest
import torch

from mmrlkd.distillation.selection.descriptors import Batch, check_context
from mmrlkd.distillation.selection.descriptors.base import per_image_loss
from mmrlkd.registry import DESCRIPTORS

DESCRIPTORS.import_from_location()
ALL = sorted(name for name, member in DESCRIPTORS.module_dict.items()
             if member.__module__.startswith('mmrlkd.'))
SIZE = 100


def describe(name, **parts):
    """What a descriptor says of a batch that has only what is named."""
    batch = dict.fromkeys(
        ('samples', 'student', 'teacher', 'maps', 'pyramid', 'losses'))
    batch['images'] = torch.zeros(1, 3, SIZE, SIZE)
    return DESCRIPTORS.get(name)()(Batch(**batch | parts))


def boxes(*images):
    """An adapter whose annotations are these boxes, in pixels."""
    return SimpleNamespace(boxes=lambda samples: [
        torch.tensor(each, dtype=torch.float32).reshape(-1, 4)
        for each in images])


def labels(*maps, classes=4):
    return SimpleNamespace(
        targets=lambda samples: torch.tensor(maps), label_classes=classes)


def test_the_family_is_complete():
    assert set(ALL) >= {
        'objects', 'object_size', 'crowding', 'classes', 'largest_class',
        'class_entropy', 'boundary', 'teacher_confidence', 'teacher_entropy',
        'teacher_detections', 'teacher_loss', 'student_loss', 'discrepancy'}


@pytest.mark.parametrize('name', ALL)
def test_what_a_state_shows_rises_with_what_is_told(name):
    """Edges of groups are scaled like the values that they divide."""
    values = torch.tensor([0., 0.1, 0.5, 1., 3., 20., 400.])
    scaled = DESCRIPTORS.get(name)().scale(values)
    assert (scaled.diff() > 0).all() and scaled.isfinite().all()


# -- labels ---------------------------------------------------------------


def test_objects_are_counted():
    student = boxes([[0, 0, 10, 10]] * 3, [], [[0, 0, 1, 1]])
    assert describe('objects', student=student).tolist() == [3, 0, 1]


def test_object_size_is_a_share_of_the_images_side():
    # 10 × 40 has the area of 20 × 20; nothing has no size.
    student = boxes([[0, 0, 10, 40], [0, 0, 60, 60]], [])
    torch.testing.assert_close(
        describe('object_size', student=student), torch.tensor([0.4, 0.0]))


def test_crowding_is_the_largest_overlap_with_another():
    half = [[0, 0, 20, 10], [0, 0, 10, 10]]  # IoU ½ for both
    student = boxes(half, [*half, [50, 50, 60, 60]], [[0, 0, 9, 9]], [],
                    [[0, 0, 9, 9]] * 2)
    torch.testing.assert_close(
        describe('crowding', student=student),
        torch.tensor([1 / 2, 1 / 3, 0, 0, 1]))


def test_annotations_without_boxes_are_a_sentence():
    student = SimpleNamespace(boxes=lambda samples: None)
    with pytest.raises(ValueError, match='no gt_instances; accepted'):
        describe('objects', student=student)


#: Half class 0 above half class 2; a quarter of each; no label but one.
HALVES = [[0, 0], [2, 2]]
QUARTERS = [[0, 1], [2, 3]]
ALONE = [[-1, -1], [3, 9]]  # 9 is no class


@pytest.mark.parametrize(('name', 'expected'), [
    ('classes', [2, 4, 1]),
    ('largest_class', [1 / 2, 1 / 4, 1]),
    ('class_entropy', [math.log(2), math.log(4), 0]),
    # Of four pixels, those with another label to the right or below.
    ('boundary', [2 / 4, 3 / 4, 0]),
])
def test_label_maps(name, expected):
    torch.testing.assert_close(
        describe(name, student=labels(HALVES, QUARTERS, ALONE)),
        torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    'name', ['classes', 'largest_class', 'class_entropy', 'boundary'])
def test_an_unlabelled_map_says_nothing(name):
    unlabelled = [[-1, -1], [-1, -1]]
    assert describe(name, student=labels(unlabelled)).tolist() == [0]


# -- the teacher ----------------------------------------------------------


def softmax_teacher(logits, sigmoid=False):
    return dict(
        teacher=SimpleNamespace(dense_head=None, sigmoid_logits=sigmoid),
        pyramid=SimpleNamespace(logits=lambda: torch.as_tensor(
            logits, dtype=torch.float32)))


def detector(*levels):
    """A teacher whose best scores, one anchor and class, are these maps."""
    return dict(
        teacher=SimpleNamespace(dense_head=object()),
        pyramid=SimpleNamespace(score_maps=lambda: [
            torch.tensor(each)[:, None, None] for each in levels]))


def test_a_classifiers_certainty():
    sure, torn = [0., math.log(9)], [0., 0.]  # probabilities .1 .9, .5 .5
    teacher = softmax_teacher([sure, torn])
    torch.testing.assert_close(
        describe('teacher_confidence', **teacher), torch.tensor([0.9, 0.5]))
    entropy = -(.1 * math.log(.1) + .9 * math.log(.9))
    torch.testing.assert_close(
        describe('teacher_entropy', **teacher),
        torch.tensor([entropy, math.log(2)]))


def test_a_segmentors_certainty_is_the_mean_over_positions():
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1, 0, 0] = math.log(9)
    teacher = softmax_teacher(logits)
    assert describe('teacher_confidence', **teacher).item() == pytest.approx(0.7)


def test_classes_with_a_sigmoid_each_are_coins():
    teacher = softmax_teacher([[0., 0.], [math.log(9), -50.]], sigmoid=True)
    assert describe('teacher_confidence', **teacher).tolist() == pytest.approx(
        [0.5, 0.9])
    entropy = -(.1 * math.log(.1) + .9 * math.log(.9)) / 2
    assert describe('teacher_entropy', **teacher).tolist() == pytest.approx(
        [math.log(2), entropy])


PEAKS = [[.9, .8, .0, .0], [.8, .7, .0, .2], [.0, .0, .0, .0]]


def test_detections_are_peaks():
    """One of .9, whose neighbours are the same object; one of .2; on the
    other level one of .4."""
    teacher = detector([PEAKS], [[[.4, .04]]])
    assert describe('teacher_detections', **teacher).tolist() == [2]
    assert describe('teacher_confidence', **teacher).item() == pytest.approx(
        (.9 + .2 + .4) / 3)
    entropy = sum(-p * math.log(p) - (1 - p) * math.log(1 - p)
                  for p in (.9, .2, .4)) / 3
    assert describe('teacher_entropy', **teacher).item() == pytest.approx(entropy)


@pytest.mark.parametrize('name', [
    'teacher_detections', 'teacher_confidence', 'teacher_entropy'])
def test_where_a_detector_sees_nothing(name):
    assert describe(name, **detector([[[.01, .04]]])).tolist() == [0]


# -- task losses ----------------------------------------------------------


def test_the_loss_of_an_image_is_that_of_torch():
    logits, targets = torch.randn(5, 3), torch.randint(3, (5, ))
    torch.testing.assert_close(
        per_image_loss(logits, targets), torch.nn.functional.cross_entropy(
            logits, targets, reduction='none'))


def test_positions_without_a_label_do_not_count():
    logits = torch.randn(2, 3, 2, 2)
    targets = torch.tensor([[[0, 1], [-1, 7]], [[-1, -1], [-1, -1]]])
    expected = -logits[0].log_softmax(0)
    torch.testing.assert_close(per_image_loss(logits, targets), torch.stack(
        [(expected[0, 0, 0] + expected[1, 0, 1]) / 2, torch.tensor(0.)]))


def test_a_label_map_is_brought_to_the_logits():
    logits = torch.randn(1, 3, 1, 2)
    targets = torch.tensor([[[0, 0, 2, 2], [0, 0, 2, 2]]])
    expected = -logits[0].log_softmax(0)
    torch.testing.assert_close(per_image_loss(logits, targets)[0],
                               (expected[0, 0, 0] + expected[2, 0, 1]) / 2)


def test_no_labels_are_a_sentence():
    with pytest.raises(ValueError, match='give no class .* accepted'):
        per_image_loss(torch.zeros(2, 3), None)


@pytest.mark.parametrize('context', ['objects', ['objects', 'objects']])
def test_a_context_is_a_list_of_different_names(context):
    with pytest.raises(ValueError, match='PolicySelector: context='):
        check_context('PolicySelector', context)
