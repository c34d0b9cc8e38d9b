import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from projects.scenes import writer
from projects.scenes.difficulty import count_stratum, is_dense_small
from projects.scenes.scenes import SceneConfig
from projects.scenes.writer import write_dataset

SPLITS = ('train', 'val')


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module', params=SPLITS)
def split(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope='module')
def coco(scenes: Path, split: str) -> COCO:
    return COCO(str(scenes / 'annotations' / f'{split}.json'))


@pytest.mark.parametrize('jobs', [1, 2])
def test_the_same_seed_gives_the_same_bytes(
        scenes: Path, config: SceneConfig, tmp_path: Path, jobs: int) -> None:
    write_dataset(tmp_path / 'again', config, jobs)
    assert read_files(tmp_path / 'again') == read_files(scenes)


def test_another_seed_gives_other_images(
        scenes: Path, config: SceneConfig, tmp_path: Path) -> None:
    write_dataset(tmp_path / 'other', replace(config, seed=1))
    other, files = read_files(tmp_path / 'other'), read_files(scenes)
    assert other.keys() == files.keys()
    assert all(other[name] != files[name] for name in files)


def test_splits_share_no_source_image(scenes: Path) -> None:
    train, val = (
        {a['source_index'] for a in json.loads(
            (scenes / 'annotations' / f'{split}.json').read_text())['annotations']}
        for split in SPLITS)
    assert train and val
    assert not train & val


def test_boxes_and_areas_are_those_of_the_masks(coco: COCO) -> None:
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        assert annotation['bbox'] == [
            columns.min(), rows.min(),
            np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation['area'] == mask.sum() > 0
        assert annotation['iscrowd'] == 0
        assert 0 <= annotation['occlusion'] <= .35


def test_masks_do_not_overlap(coco: COCO) -> None:
    for image_id in coco.imgs:
        masks = [coco.annToRLE(a) for a in coco.imgToAnns[image_id]]
        assert coco_mask.area(coco_mask.merge(masks)) == sum(
            coco_mask.area(masks))


def test_strata_are_what_the_annotations_say(coco: COCO) -> None:
    for image in coco.imgs.values():
        areas = [a['area'] for a in coco.imgToAnns[image['id']]]
        assert image['difficulty'] == count_stratum(len(areas))
        assert image['dense_small'] is is_dense_small(
            areas, image['width'] * image['height'])


def test_strata_are_balanced(coco: COCO) -> None:
    images = coco.imgs.values()
    counts = Counter(image['difficulty'] for image in images)
    assert set(counts.values()) == {len(images) // 4}
    dense = Counter(i['difficulty'] for i in images if i['dense_small'])
    assert set(dense) == {'8-10', '>10'}
    assert set(dense.values()) == {round(len(images) / 8)}


def test_label_maps_agree_with_the_masks(
        scenes: Path, split: str, coco: COCO) -> None:
    for image in coco.imgs.values():
        path = scenes / 'labels' / split / image['file_name']
        label_map = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        expected = np.zeros((image['height'], image['width']), np.uint8)
        for annotation in coco.imgToAnns[image['id']]:
            expected[coco.annToMask(annotation) == 1] = annotation['category_id']
        assert np.array_equal(label_map, expected)


def test_facts_count_the_files(scenes: Path, split: str, coco: COCO) -> None:
    facts = json.loads((scenes / 'dataset.json').read_text())
    counts = facts['counts'][split]
    assert counts['images'] == len(coco.imgs) == sum(
        counts[name] for name in ('1-3', '4-7', '8-10', '>10'))
    assert counts['objects'] == len(coco.anns)
    assert facts['classes'] == [c['name'] for c in coco.cats.values()]
    assert {p.name for p in (scenes / split).iterdir()} == {
        image['file_name'] for image in coco.imgs.values()}


def test_finished_data_is_left_alone(scenes: Path, config: SceneConfig) -> None:
    before = (scenes / 'dataset.json').stat().st_mtime_ns
    assert not write_dataset(scenes, config)
    assert not write_dataset(scenes, replace(config, source='auto'))
    with pytest.raises(FileExistsError, match='holds something else'):
        write_dataset(scenes, replace(config, seed=1))
    assert (scenes / 'dataset.json').stat().st_mtime_ns == before


def test_other_files_are_left_alone(config: SceneConfig, tmp_path: Path) -> None:
    (tmp_path / 'thesis.tex').touch()
    (tmp_path / 'dataset.json').write_text('[]')
    with pytest.raises(FileExistsError, match='holds something else'):
        write_dataset(tmp_path, config)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize('jobs', [1, 2])
@pytest.mark.parametrize('reason', [KeyboardInterrupt, OSError])
def test_an_interrupted_build_leaves_nothing(
        config: SceneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        jobs: int, reason: type[BaseException]) -> None:
    seen = []

    def stop_after_a_few(records, total):
        for record in records:
            seen.append(record)
            if len(seen) == 5:
                raise reason('stopped')

    monkeypatch.setattr(writer, '_tracked', stop_after_a_few)
    with pytest.raises(reason, match='stopped'):
        write_dataset(tmp_path / 'data' / 'scenes', config, jobs)
    assert len(seen) == 5
    assert not any((tmp_path / 'data').iterdir())


def test_an_empty_folder_is_filled(config: SceneConfig, tmp_path: Path) -> None:
    (tmp_path / 'scenes').mkdir()
    assert write_dataset(tmp_path / 'scenes', replace(config, train=1, val=1))
    assert (tmp_path / 'scenes' / 'dataset.json').exists()


def test_these_parameters_always_give_these_bytes(scenes: Path) -> None:
    """What a reader generates is what the figures of the docs were made with."""
    digest = hashlib.sha256()
    for path in sorted(scenes.rglob('*')):
        if path.is_file():
            digest.update(str(path.relative_to(scenes)).encode())
            digest.update(path.read_bytes())
    assert digest.hexdigest() == (
        'b2f9ca4ea8c15864f73b48b8dc6d0a9ca1cdda62045e6cddb0530336a6014607')


@pytest.fixture(scope='module')
def cameras(tmp_path_factory: pytest.TempPathFactory, config: SceneConfig) -> Path:
    folder = tmp_path_factory.mktemp('cameras') / 'data'
    write_dataset(folder, replace(config, second_camera=0.5))
    return folder


def test_half_of_each_stratum_is_taken_by_the_second_camera(
        cameras: Path) -> None:
    for split in SPLITS:
        images = COCO(str(
            cameras / 'annotations' / f'{split}.json')).imgs.values()
        count = Counter((i['difficulty'], i['camera']) for i in images)
        each = {'train': 3}.get(split)
        assert sum(n for (_, c), n in count.items() if c == 'b') * 2 == len(images)
        assert each is None or set(count.values()) == {each}
        parts = {camera: COCO(str(
            cameras / 'annotations' / f'{split}_{camera}.json'))
            for camera in 'ab'}
        for camera, part in parts.items():
            assert {i['camera'] for i in part.imgs.values()} == {camera}
            assert {a['image_id'] for a in part.anns.values()} == set(part.imgs)
        facts = json.loads((cameras / 'dataset.json').read_text())
        assert facts['counts'][split]['camera_b'] == len(parts['b'].imgs)


def test_the_second_camera_changes_its_own_images_alone(
        scenes: Path, cameras: Path, split: str) -> None:
    for image in COCO(str(
            cameras / 'annotations' / f'{split}.json')).imgs.values():
        path = f'{split}/{image["file_name"]}'
        same = (scenes / path).read_bytes() == (cameras / path).read_bytes()
        assert same == (image['camera'] == 'a')
        assert (scenes / 'labels' / path).read_bytes() == (
            cameras / 'labels' / path).read_bytes()


@pytest.mark.parametrize('jobs', [1, 2])
def test_two_cameras_give_the_same_bytes_again(
        cameras: Path, config: SceneConfig, tmp_path: Path, jobs: int) -> None:
    write_dataset(tmp_path / 'a', replace(config, second_camera=0.5), jobs)
    assert read_files(tmp_path / 'a') == read_files(cameras)
    assert write_dataset(tmp_path / 'a', replace(
        config, second_camera=0.5)) is False
