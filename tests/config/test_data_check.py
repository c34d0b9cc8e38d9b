"""Data sets compared with their annotation files and with the heads."""

import json
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from mmrlkd.config.data_check import check_data
from mmrlkd.config.inspection import check_annotations


@pytest.fixture
def cfg(run_config):
    init_default_scope('mmdet')
    return run_config()


def test_it_counts_images_and_classes(cfg):
    assert check_data(cfg) == [
        'train_dataloader.dataset: 16 images of 5 classes',
        'val_dataloader.dataset: 8 images of 5 classes']


@pytest.mark.parametrize('number', [80, 4])
def test_heads_of_other_classes_are_refused(cfg, number):
    cfg.model.student.bbox_head.num_classes = number
    with pytest.raises(ValueError, match=(
            rf'^model\.student\.bbox_head\.num_classes is {number}, but '
            r'train_dataloader\.dataset has 5 classes')):
        check_data(cfg)


def test_wrong_class_names_are_refused(cfg, tiny_scenes):
    file = tiny_scenes / 'annotations/train.json'
    names = [each['name'] for each in json.loads(
        file.read_text())['categories']]
    cfg.train_dataloader.dataset.type = 'CocoDataset'
    cfg.train_dataloader.dataset.metainfo = dict(
        classes=(*names[:4], 'bycicle'))
    with pytest.raises(ValueError, match=(
            r'^train_dataloader\.dataset\.metainfo has the classes .*bycicle, '
            rf'of which {file} has no bycicle; accepted: .*{names[4]}')):
        check_data(cfg)


def test_names_that_leave_no_image_are_refused_by_name(cfg):
    """As mmdet's own configs are: images without objects are left out."""
    dataset = cfg.train_dataloader.dataset
    dataset.type, dataset.metainfo = 'CocoDataset', dict(classes=('cat', 'dog'))
    dataset.filter_cfg = dict(filter_empty_gt=True, min_size=1)
    with pytest.raises(ValueError, match=(
            'metainfo has the classes cat, dog, of which .* has no cat, dog; ')):
        check_data(cfg)


def test_data_without_class_names_have_those_of_coco(cfg):
    cfg.train_dataloader.dataset.type = 'CocoDataset'
    with pytest.raises(ValueError, match='has the classes person, bicycle'):
        check_data(cfg)


def test_a_wrong_image_folder_is_refused(cfg):
    cfg.val_dataloader.dataset.data_prefix.img = 'nowhere/'
    with pytest.raises(ValueError, match=(
            r'^val_dataloader\.dataset: image 0 cannot be read .*nowhere.*'
            r"relative to .*data_prefix=\{'img': 'nowhere/'\}")):
        check_data(cfg)


def test_a_missing_file_of_the_evaluator_is_refused(cfg):
    cfg.val_evaluator.ann_file = 'nowhere.json'
    with pytest.raises(ValueError, match=(
            rf'^val_evaluator\.ann_file: nowhere\.json \(relative to '
            rf'{Path.cwd()}\) is not a file')):
        check_data(cfg)


@pytest.mark.parametrize(('content', 'fits'), [
    (dict(metainfo={}, data_list=[dict(img_path='a.png')]), True),
    (dict(images=[1], annotations=[1]), True),
    (dict(entries=[1]), True),  # a library's own
    (dict(metainfo={}, data_list=[]), False),
    (dict(images=[1], annotations=[]), False),
    (dict(images=[1]), False),
    ({}, False),
])
def test_annotation_files_of_every_format(cfg, tmp_path, content, fits):
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(content))
    cfg.train_dataloader.dataset.ann_file = str(file)
    if fits:
        check_annotations(cfg)
        return
    with pytest.raises(ValueError, match=(
            r'^train_dataloader\.dataset\.ann_file: .*a\.json has no annot')):
        check_annotations(cfg)


def test_lists_of_files_and_wrapped_data_sets_are_looked_at(cfg):
    dataset = cfg.train_dataloader.dataset
    dataset.ann_file = [dataset.ann_file, 'annotations/val.json']
    check_annotations(cfg)
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(
            type='ConcatDataset', datasets=[
                dataset, {**dataset, 'ann_file': ['no.json']}]))
    with pytest.raises(ValueError, match=(
            r'^train_dataloader\.dataset\.dataset\.datasets\.1\.ann_file: '
            r'.*no\.json is not a file')):
        check_annotations(cfg)
