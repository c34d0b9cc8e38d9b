"""One root for data sets and checkpoints."""

import os
from pathlib import Path

import pytest

from mmrlkd.config.compose import load_config

CONFIG = '''
data_root = 'data/coco/'
val_dataloader = dict(dataset=dict(
    data_root=data_root, ann_file='annotations/val.json',
    data_prefix=dict(img='data/images')))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
model = dict(teacher=dict(checkpoint='checkpoints/teacher.pth'))
custom_hooks = [dict(dataloader=dict(dataset=dict(data_root='data/imagenet')))]
work_dir = 'data/work'
load_from = 'https://example.org/data/student.pth'
resume_from = dict(checkpoint='/elsewhere/checkpoints/a.pth')
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config."""
    monkeypatch.delenv('MMRLKD_ROOT', raising=False)
    monkeypatch.setenv('TORCH_HOME', 'mine')  # restored, whatever sets it
    folder = tmp_path / 'here'
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path('config.py').write_text(CONFIG)
    return folder


def paths() -> dict[str, str]:
    cfg = load_config('config.py')
    return dict(
        val=cfg.val_dataloader.dataset.data_root,
        evaluator=cfg.val_evaluator.ann_file,
        teacher=cfg.model.teacher.checkpoint,
        hook=cfg.custom_hooks[0].dataloader.dataset.data_root)


AS_WRITTEN = dict(
    val='data/coco/', evaluator='data/coco/annotations/val.json',
    teacher='checkpoints/teacher.pth', hook='data/imagenet')


def test_without_a_root_paths_are_as_written() -> None:
    assert paths() == AS_WRITTEN


def test_a_root_has_what_the_working_directory_has_not(
        here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMRLKD_ROOT', '../root')
    root = here.parent / 'root'
    assert paths() == {
        key: os.path.join(root, path) for key, path in AS_WRITTEN.items()}
    Path('data/coco').mkdir(parents=True)  # and nothing in it
    Path('checkpoints').mkdir()
    assert paths() == AS_WRITTEN | dict(
        teacher=f'{root}/checkpoints/teacher.pth', hook=f'{root}/data/imagenet')


def test_other_paths_and_options_are_taken_as_they_are(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMRLKD_ROOT', '/root')
    cfg = load_config('config.py', cfg_options={
        'model.teacher.checkpoint': 'checkpoints/other.pth'})
    assert cfg.model.teacher.checkpoint == 'checkpoints/other.pth'
    assert cfg.val_dataloader.dataset.ann_file == 'annotations/val.json'
    assert cfg.val_dataloader.dataset.data_prefix.img == 'data/images'
    assert cfg.work_dir == 'data/work'
    assert cfg.load_from == 'https://example.org/data/student.pth'
    assert cfg.resume_from.checkpoint == '/elsewhere/checkpoints/a.pth'


def test_a_located_config_stays_where_it_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that a run writes down is read again by other tools."""
    monkeypatch.setenv('MMRLKD_ROOT', 'data')
    once = paths()
    load_config('config.py').dump('config.py')
    assert paths() == once


@pytest.mark.parametrize('mine', [None, '/mine'])
def test_torch_looks_below_the_root_unless_told_otherwise(
        monkeypatch: pytest.MonkeyPatch, mine: str | None) -> None:
    monkeypatch.setenv('MMRLKD_ROOT', '/root')
    if mine is None:
        monkeypatch.delenv('TORCH_HOME')
    else:
        monkeypatch.setenv('TORCH_HOME', mine)
    load_config('config.py')
    assert os.environ['TORCH_HOME'] == (mine or '/root')


def test_weights_to_begin_with_lie_there_too(
        here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMRLKD_ROOT', '../root')
    Path('config.py').write_text("load_from = 'checkpoints/student.pth'")
    assert load_config('config.py').load_from == os.path.join(
        here.parent / 'root', 'checkpoints/student.pth')


def test_lists_and_panoptic_folders_lie_there_too(
        here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMRLKD_ROOT', '../root')
    Path('config.py').write_text(
        "train = dict(ann_file=['data/coco/a.json', 'mine/b.json'])\n"
        "val_evaluator = dict(seg_prefix='data/coco/panoptic/')\n"
        # Of LeNet, and of MM Grounding DINO.
        "digits = dict(data_prefix='data/mnist')\n"
        "mixed = dict(label_map_file='data/V3Det/labels.json')\n"
        "below = dict(data_prefix=dict(img='data/'))")
    cfg = load_config('config.py')
    root = here.parent / 'root'
    assert cfg.train.ann_file == [
        os.path.join(root, 'data/coco/a.json'), 'mine/b.json']
    assert cfg.val_evaluator.seg_prefix == os.path.join(
        root, 'data/coco/panoptic/')
    assert cfg.digits.data_prefix == os.path.join(root, 'data/mnist')
    assert cfg.mixed.label_map_file == os.path.join(root, 'data/V3Det/labels.json')
    assert cfg.below.data_prefix.img == 'data/'  # of the data set's own root
