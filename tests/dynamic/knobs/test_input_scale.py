"""A resized image gives predictions for the original one."""

import pytest
import torch
from mmengine.structures import InstanceData

from mmrlkd.dynamic.knobs import InputScale


def bound(task, *scales: float) -> InputScale:
    knob = InputScale(scales)
    knob.bind(task.model)
    return knob


@pytest.mark.parametrize('size', [(64, 64), (64, 40)])
def test_the_model_gets_the_resized_batch_and_matching_meta_data(
        task, size, monkeypatch):
    knob, seen = bound(task, 0.5, 1.0), {}

    def predict(inputs, data_samples):
        seen.update(inputs=inputs, samples=data_samples)
        return model_predict(inputs, data_samples)

    model_predict = task.model.predict
    monkeypatch.setattr(task.model, 'predict', predict)
    batch = task.batch(size=size)
    with knob.set(0):
        task.predict(batch)
    divisor, _ = knob.library.padding
    for half, full in zip(seen['inputs'].shape[2:], batch['inputs'].shape[2:]):
        assert half == -(-full // 2 // divisor) * divisor
    if task.name == 'classification':  # its samples are not read
        return
    for sample, given in zip(seen['samples'], batch['data_samples']):
        assert sample.img_shape == (size[0] // 2, size[1] // 2)
        assert sample.ori_shape == given.ori_shape
        if task.name.startswith('detection'):
            assert sample.scale_factor == (1.0, 1.0)  # 2 of the pipeline
        else:
            left, right, top, bottom = sample.img_padding_size
            assert (left, top) == (0, 0)
            height, width = seen['inputs'].shape[2:]
            assert (height - bottom, width - right) == sample.img_shape


def test_boxes_come_out_in_the_original_images_coordinates(build_task):
    task = build_task('detection')

    def predict(inputs, data_samples):
        """Finds the whole picture; heads divide by the factor as well."""
        for sample in data_samples:
            height, width = sample.img_shape
            factor = torch.tensor(sample.scale_factor).repeat(2)
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[0., 0., width, height]]) / factor,
                scores=torch.ones(1), labels=torch.zeros(1).long())
        return data_samples

    task.model.predict = predict
    batch = task.batch(size=(62, 50))
    with bound(task, 0.3, 1.0).set(0):
        found = task.predict(batch)
    for boxes in found:
        assert torch.allclose(
            boxes['bboxes'], torch.tensor([[0., 0., 25., 31.]]), atol=1.0)


def test_label_maps_have_the_original_images_size(build_task):
    task = build_task('segmentation')
    with bound(task, 0.5, 1.0).set(0):
        found = task.predict(task.batch(size=(64, 48)))
    assert found[0]['logits'].shape == (4, 32, 24)
    assert found[0]['labels'].shape == (1, 32, 24)


def test_masks_have_the_original_images_size(build_task):
    def change(cfg):
        cfg.type = 'MaskRCNN'
        cfg.roi_head.mask_roi_extractor = dict(
            cfg.roi_head.bbox_roi_extractor,
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0))
        cfg.roi_head.mask_head = dict(
            type='FCNMaskHead', num_convs=1, in_channels=8,
            conv_out_channels=8, num_classes=5,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True))
        cfg.test_cfg.rcnn.mask_thr_binary = 0.5

    task = build_task('detection-two-stage', change)
    with bound(task, 0.5, 1.0).set(0):
        found = task.predict(task.batch(size=(64, 48)))
    for each in found:
        assert each['masks'].shape == (len(each['scores']), 32, 24)
        assert (each['bboxes'] <= torch.tensor([24., 32., 24., 32.])).all()


@pytest.mark.parametrize('scale', [0.5, 0.7, 2.0])
def test_an_edge_stays_where_it_is(build_task, pixelwise, scale):
    """For a segmentor that looks at single pixels."""
    task = build_task('segmentation', pixelwise.segmentor)
    knob = InputScale(sorted([scale, 1.0]))
    knob.bind(task.model)
    batch = task.batch(images=1, size=(64, 48))
    batch['inputs'][:] = -1
    batch['inputs'][:, :, 40:] = 2  # row 20 of 32 of the original image
    whole = task.predict(batch)[0]['logits']
    with knob.set(1 - knob.full):
        scaled = task.predict(batch)[0]['logits']
    assert not torch.allclose(whole[:, 10, 10], whole[:, 25, 10], atol=0.01)
    # But for rows at the edge, and columns where resizing meets the padding.
    rows = [*range(17), *range(23, 32)]
    assert torch.allclose(whole[:, rows, :20], scaled[:, rows, :20], atol=1e-5)


@pytest.mark.parametrize('scales, accepted', [
    ((), 'ascending'), ((1.0, 0.5), 'ascending'), ((0.5, 0.75), '1.0 among'),
    ((0, 1.0), r'a number in \(0, 4\]'), ((True, ), 'a number')])
def test_scales_that_make_no_sense_are_refused(scales, accepted):
    with pytest.raises(ValueError, match=f'InputScale: scales.*{accepted}'):
        InputScale(scales)


def test_padding_at_the_left_and_other_models_are_refused(build_task):
    task = build_task('segmentation')
    batch = task.batch()
    batch['data_samples'][0].set_metainfo(dict(img_padding_size=(3, 0, 0, 0)))
    with pytest.raises(ValueError, match='3 and 0 px of padding'), \
            bound(task, 0.5, 1.0).set(0):
        task.predict(batch)
    with pytest.raises(ValueError, match='The model is a Linear.*accepted: det'):
        InputScale().bind(torch.nn.Linear(1, 1))
