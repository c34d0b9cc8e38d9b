"""Tiles cover the image, and their predictions become those of the image."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from mmrlkd.dynamic.knobs import Tiles
from mmrlkd.dynamic.knobs.tiles import tile_areas
from mmrlkd.dynamic.libraries import Area


def bound(task, *counts: int, **options) -> Tiles:
    knob = Tiles((1, *counts), **options)
    knob.bind(task.model)
    return knob


#: Tiles that cover the image once, pixel by pixel.
ONCE = dict(overlap=0.0, enlarge=False, whole=False)


@pytest.mark.parametrize('height, width', [(64, 64), (50, 37), (7, 90)])
@pytest.mark.parametrize('side', [2, 3, 5])
@pytest.mark.parametrize('overlap', [0.0, 0.2, 0.5])
def test_tiles_are_alike_and_cover_the_image(height, width, side, overlap):
    tiles = tile_areas(Area(0, 0, height, width), side, overlap)
    assert len(tiles) == side**2
    assert len({tile.size for tile in tiles}) == 1
    covered = torch.zeros(height, width)
    for tile in tiles:
        inside = covered[tile.top:tile.top + tile.height,
                         tile.left:tile.left + tile.width]
        assert inside.shape == tile.size  # nothing sticks out
        inside += 1
    assert (covered > 0).all()
    if not overlap and height % side == 0 == width % side:
        assert (covered == 1).all()


def test_label_maps_of_tiles_are_those_of_the_image(
        build_task, pixelwise):
    """For a segmentor that looks at single pixels."""
    task = build_task('segmentation', pixelwise.segmentor)
    for size in ((64, 64), (64, 48), (62, 50)):
        batch = task.batch(size=size)
        whole = task.predict(batch)
        for count, overlap in ((4, 0.0), (9, 0.0), (9, 0.3)):
            with bound(task, count, **dict(ONCE, overlap=overlap)).set(1):
                tiled = task.predict(batch)
            for one, other in zip(whole, tiled):
                assert one['logits'].shape == other['logits'].shape
                assert torch.allclose(one['logits'], other['logits'], atol=1e-5)


def test_logits_of_a_classifiers_tiles_are_averaged(
        build_task, pixelwise):
    """A mean over pixels is the mean of the means over tiles of one size."""
    def change(cfg):
        cfg.backbone = pixelwise.backbone()
        cfg.head.in_channels = 8

    task = build_task('classification', change)
    nn.init.normal_(task.model.head.fc.weight)
    batch = task.batch(size=(48, 96))
    whole = task.predict(batch)
    for count in (4, 9):
        with bound(task, count, **ONCE).set(1):
            tiled = task.predict(batch)
        for one, other in zip(whole, tiled):
            assert torch.allclose(one['score'], other['score'], atol=1e-5)
            assert torch.equal(one['label'], other['label'])


def test_boxes_of_tiles_are_those_of_the_image(build_task, pixelwise):
    """For a detector whose boxes are the cells of a grid that tiles respect."""
    def change(cfg):
        cfg.backbone = pixelwise.backbone()
        cfg.neck = None
        cfg.data_preprocessor.pad_size_divisor = 1
        cfg.bbox_head.stacked_convs = 0
        cfg.bbox_head.anchor_generator = ConfigDict(
            type='AnchorGenerator', octave_base_scale=1, scales_per_octave=1,
            ratios=[1.0], strides=[1], center_offset=0.5)
        cfg.test_cfg.update(nms_pre=10**5, max_per_img=10**5, score_thr=0.3)

    task = build_task('detection', change)
    head = task.model.bbox_head
    # Of its 3 × 3 kernels the centre only, and boxes as large as anchors.
    kernel = torch.zeros_like(head.retina_cls.weight)
    kernel[:, :, 1, 1] = torch.randn_like(kernel[:, :, 1, 1])
    head.retina_cls.weight.data, head.retina_cls.bias.data = kernel, kernel.new_zeros(5)
    nn.init.zeros_(head.retina_reg.weight)
    nn.init.zeros_(head.retina_reg.bias)
    for size in ((24, 24), (24, 36)):
        batch = task.batch(size=size)
        whole = task.predict(batch)
        with bound(task, 4, 9, **ONCE).set(2):
            tiled = task.predict(batch)
        for one, other in zip(whole, tiled):
            assert len(one['scores']) == len(other['scores']) > 100
            assert torch.allclose(_sorted(one), _sorted(other), atol=1e-4)


def _sorted(found: dict) -> torch.Tensor:
    """(k, 6) boxes, scores and labels by place."""
    rows = torch.cat([found['bboxes'], found['labels'][:, None].float(),
                      found['scores'][:, None]], 1)
    place = rows[:, 1] * 1e4 + rows[:, 0] * 10 + rows[:, 4]
    return rows[place.argsort()]


def test_an_enlarged_tile_shows_its_part_in_the_size_of_the_image(build_task):
    """A detector that puts a box around each picture finds the tiles."""
    task = build_task('detection')
    shapes = []

    def predict(inputs, data_samples):
        shapes.append(tuple(inputs.shape))
        from mmengine.structures import InstanceData
        for sample in data_samples:
            height, width = sample.img_shape
            factor = torch.tensor(sample.scale_factor).repeat(2)
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[0., 0., width, height]]) / factor,
                scores=torch.ones(1), labels=torch.zeros(1).long())
        return data_samples

    task.model.predict = predict
    with bound(task, 4, overlap=0.0, whole=False).set(1):
        found = task.predict(task.batch(images=2, size=(64, 48)))
    assert shapes == [(8, 3, 64, 64)]  # padded to 32
    for boxes in found:  # of an original image of 32 × 24
        assert sorted(boxes['bboxes'].tolist()) == [
            [0, 0, 12, 16], [0, 16, 12, 32], [12, 0, 24, 16], [12, 16, 24, 32]]


def test_boxes_that_two_tiles_find_are_merged_and_limited(build_task):
    task = build_task('detection')
    task.model.test_cfg.max_per_img = 3
    with bound(task, 4, overlap=0.6).set(1):
        found = task.predict(task.batch())
    for each in found:
        assert len(each['scores']) == 3
        assert (each['scores'].diff() <= 0).all()


def test_images_of_different_size_are_cut_each_by_itself(build_task):
    task = build_task('detection')
    batch = task.batch(images=2, size=(64, 64))
    batch['data_samples'][1].set_metainfo(dict(img_shape=(40, 64)))
    with bound(task, 4).set(1):
        together = task.predict(batch)
        alone = task.predict(dict(inputs=batch['inputs'][1:],
                                  data_samples=batch['data_samples'][1:]))
    assert torch.allclose(together[1]['bboxes'], alone[0]['bboxes'], atol=1e-3)


@pytest.mark.parametrize('counts, message', [
    ((4, ), '1 first'), ((1, 5), 'a square'), ((1, 9, 4), 'ascending')])
def test_counts_that_make_no_sense_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        Tiles(counts)


def test_models_whose_predictions_are_not_merged_are_refused(build_task):
    task = build_task('detection')
    task.model.mask_head = nn.Identity()
    with pytest.raises(ValueError, match='with masks'):
        bound(task, 4)
    del task.model.mask_head, task.model.test_cfg['nms']
    with pytest.raises(ValueError, match='has no nms'):
        bound(task, 4)

    def change(cfg):
        cfg.head = dict(type='MultiLabelLinearClsHead', num_classes=4,
                        in_channels=32)
    with pytest.raises(ValueError, match='MultiLabelLinearClsHead'):
        bound(build_task('classification', change), 4)


def test_a_flipped_image_is_refused(build_task):
    task = build_task('segmentation')
    batch = task.batch()
    batch['data_samples'][0].set_metainfo(dict(flip=True))
    with pytest.raises(ValueError, match='flipped'), bound(task, 4).set(1):
        task.predict(batch)
