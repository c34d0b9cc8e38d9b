"""How many boxes a detector keeps."""

import pytest
import torch

from mmrlkd.dynamic.knobs import Proposals


def bound(task, *keep: int) -> Proposals:
    knob = Proposals(keep)
    knob.bind(task.model)
    return knob


def test_the_second_stage_sees_as_many_boxes_as_were_chosen(build_task):
    task, seen = build_task('detection-two-stage'), []
    predict = task.model.roi_head.predict

    def spy(x, proposals, samples, rescale):
        seen.extend(len(each) for each in proposals)
        return predict(x, proposals, samples, rescale=rescale)

    task.model.roi_head.predict = spy
    with bound(task, 3, 40).set(0):
        task.predict(task.batch())
    assert seen == [3, 3]


def test_the_boxes_of_each_level_before_nms_are_limited(build_task):
    def change(cfg):  # nothing is suppressed, all levels have boxes enough
        cfg.test_cfg.nms.iou_threshold = 1.0
        cfg.test_cfg.max_per_img = 1000

    task = build_task('detection', change)
    with bound(task, 2, 50).set(0):
        found = task.predict(task.batch())
    assert [len(each['scores']) for each in found] == [8, 8]  # of 4 levels


def test_what_is_kept_are_the_best(build_task):
    def change(cfg):
        cfg.test_cfg.nms.iou_threshold = 1.0
        cfg.test_cfg.max_per_img = 1000

    task = build_task('detection', change)
    batch = task.batch()
    all_scores = task.predict(batch)[0]['scores']
    with bound(task, 10, 50).set(0):
        few = task.predict(batch)[0]['scores']
    assert torch.equal(few[:10], all_scores[:10])


@pytest.mark.parametrize('keep', [(), (5, 5), (10, 5), (0, 5), (1.5, 5)])
def test_numbers_that_make_no_sense_are_refused(keep):
    with pytest.raises(ValueError, match='Proposals: keep'):
        Proposals(keep)


def test_the_last_number_is_the_models(build_task):
    with pytest.raises(ValueError, match=r'keep\[-1\]=30; accepted: 50, the nms_pre'):
        bound(build_task('detection'), 5, 30)


@pytest.mark.parametrize('name', ['segmentation', 'classification'])
def test_models_without_proposals_are_refused(build_task, name):
    with pytest.raises(ValueError, match="'proposals' does not fit"):
        bound(build_task(name), 5, 50)
