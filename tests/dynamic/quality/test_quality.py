"""The quality of a prediction for one image, against numbers found by hand."""

import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmrlkd.dynamic.quality import Correctness, ImageIoU, OneMinusLRP
from mmrlkd.registry import QUALITIES


def boxes(*rows: tuple) -> InstanceData:
    """Of (x1, y1, x2, y2, label[, score])."""
    table = torch.tensor([[*row, 1.0][:6] for row in rows]).reshape(-1, 6)
    return InstanceData(bboxes=table[:, :4], labels=table[:, 4].long(),
                        scores=table[:, 5])


def lrp(truth: InstanceData, found: InstanceData,
        ignored: InstanceData | None = None, **options) -> float:
    sample = DetDataSample()
    sample.gt_instances, sample.pred_instances = truth, found
    if ignored is not None:
        sample.ignored_instances = ignored
    return OneMinusLRP(**options)(sample).quality


OBJECT = (0., 0., 10., 10., 1)
#: 80 of 100 px of OBJECT and nothing else: an IoU of 0.8.
PART = (0., 0., 10., 8., 1)


def test_perfect_boxes_have_one_and_none_at_all_zero():
    assert lrp(boxes(OBJECT), boxes((*OBJECT, 0.9))) == 1
    assert lrp(boxes(OBJECT), boxes()) == 0
    assert lrp(boxes(), boxes((*OBJECT, 0.9))) == 0
    assert lrp(boxes(), boxes()) == 1


def test_localisation_counts_from_the_threshold_on():
    # (1 − 0.8) / (1 − 0.5) = 0.4 is lost of one object.
    assert lrp(boxes(OBJECT), boxes((*PART, 0.9))) == pytest.approx(0.6)
    assert lrp(boxes(OBJECT), boxes((*PART, 0.9)),
               iou_thr=0.0) == pytest.approx(0.8)
    assert lrp(boxes(OBJECT), boxes((*PART, 0.9)), iou_thr=0.85) == 0


def test_false_and_missed_boxes_count_one_each():
    missed, false = (50., 50., 60., 60., 1), (80., 80., 90., 90., 0, 0.8)
    # One TP with 0.6, one FN, one FP: 0.6 / 3.
    assert lrp(boxes(OBJECT, missed),
               boxes((*PART, 0.9), false)) == pytest.approx(0.2)


def test_the_formula_of_the_paper():
    """LRP = (Σ_TP (1 − IoU)/(1 − τ) + N_FP + N_FN) / (N_TP + N_FP + N_FN)."""
    truth = boxes((0., 0., 10., 10., 0), (20., 0., 30., 10., 0),
                  (40., 0., 50., 10., 2), (60., 0., 70., 10., 2))
    found = boxes((0., 0., 10., 9., 0, 0.9), (20., 0., 30., 7., 0, 0.8),
                  (40., 0., 50., 10., 1, 0.7),  # the class is wrong
                  (60., 0., 70., 4., 2, 0.6))  # an IoU of 0.4 only
    error = ((1 - 0.9) / 0.5 + (1 - 0.7) / 0.5 + 2 + 2) / (2 + 2 + 2)
    assert lrp(truth, found) == pytest.approx(1 - error, abs=1e-6)


def test_an_object_is_found_once_by_the_box_of_the_highest_score():
    twice = boxes((*PART, 0.9), (*OBJECT, 0.5))
    assert lrp(boxes(OBJECT), twice) == pytest.approx(0.6 / 2)


def test_a_box_goes_to_the_object_that_it_overlaps_most():
    truth = boxes((0., 0., 10., 10., 0), (0., 0., 10., 8., 0))
    found = boxes((0., 0., 10., 8., 0, 0.9), (0., 0., 10., 10., 0, 0.8))
    assert lrp(truth, found) == 1


def test_boxes_below_the_confidence_do_not_count():
    false = (80., 80., 90., 90., 1, 0.29)
    assert lrp(boxes(OBJECT), boxes((*OBJECT, 0.9), false)) == 1
    assert lrp(boxes(OBJECT), boxes((*OBJECT, 0.9), false),
               score_thr=0.2) == 0.5


def test_boxes_on_excluded_regions_do_not_count():
    crowd, inside = boxes((50., 50., 90., 90., 1)), (60., 60., 70., 70., 1, 0.9)
    assert lrp(boxes(OBJECT), boxes((*OBJECT, 0.9), inside), crowd) == 1
    assert lrp(boxes(OBJECT), boxes((*OBJECT, 0.9), inside)) == 0.5


def test_difficulty_of_a_detectors_image_is_its_number_of_objects():
    sample = DetDataSample()
    sample.gt_instances = boxes(OBJECT, PART)
    assert OneMinusLRP().difficulty(sample) == '2'


def segmented(labels: list, predicted: list) -> SegDataSample:
    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=torch.tensor([labels]))
    sample.pred_sem_seg = PixelData(data=torch.tensor([predicted]))
    return sample


def test_iou_is_averaged_over_the_classes_of_the_label_map():
    sample = segmented([[0, 0, 0, 0], [1, 1, 255, 255]],
                       [[0, 0, 0, 2], [1, 0, 1, 3]])
    # Class 0: 3 of 5; class 1: 1 of 2; 2 and 3 are predicted only, and what is
    # under 255 is not compared.
    assert ImageIoU()(sample).quality == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert ImageIoU().difficulty(sample) == '2'


def test_iou_is_that_of_mmseg_for_an_image_with_all_classes():
    from mmseg.evaluation import IoUMetric
    labels, found = torch.randint(0, 4, (2, 16, 16))
    areas = IoUMetric.intersect_and_union(found, labels, 4, 255)
    assert ImageIoU()(segmented(labels.tolist(), found.tolist())).quality == (
        pytest.approx(float((areas[0] / areas[1]).mean())))


def test_an_image_without_labelled_pixels_has_one():
    assert ImageIoU()(segmented([[255]], [[0]])).quality == 1


def test_a_class_is_right_or_not_and_has_a_log_probability():
    sample = DataSample().set_gt_label(2).set_pred_score(
        torch.tensor([0.1, 0.6, 0.3])).set_pred_label(1)
    score = Correctness()(sample)
    assert score.quality == 0
    assert score.log_prob == pytest.approx(math.log(0.3))
    assert Correctness()(sample.set_pred_label(2)).quality == 1
    sample.set_pred_score(torch.tensor([0.0, 1.0, 0.0]))
    assert Correctness()(sample).log_prob < -80  # and finite


@pytest.mark.parametrize('quality, sample', [
    (OneMinusLRP(), DetDataSample()), (ImageIoU(), SegDataSample()),
    (Correctness(), DataSample())])
def test_samples_without_annotation_are_refused(quality, sample):
    with pytest.raises(ValueError, match='a test pipeline that loads annotations'):
        quality(sample)


def test_measures_are_built_from_a_config_with_arguments_checked():
    built = QUALITIES.build(dict(type='mmrlkd.OneMinusLRP', score_thr=0.5))
    assert built.score_thr == 0.5
    with pytest.raises(ValueError, match='iou_thr=1'):
        OneMinusLRP(iou_thr=1)
    with pytest.raises(ValueError, match='score_thr=2'):
        OneMinusLRP(score_thr=2)
