"""What a search sees of the training images."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from mmrlkd.datasets.hold_out import hold_out

TOOL = Path(__file__).parents[2] / 'tools/datasets/hold_out.py'


def read(path: Path) -> tuple[set, set]:
    content = json.loads(path.read_text())
    images = {image['id'] for image in content['images']}
    assert {a['image_id'] for a in content['annotations']} <= images
    return images, {a['id'] for a in content['annotations']}


@pytest.fixture
def annotations(scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(scenes / 'annotations/train.json', tmp_path))


def test_the_scenes_come_with_both_parts(scenes: Path) -> None:
    folder = scenes / 'annotations'
    images, objects = read(folder / 'train.json')
    fit, score = (read(folder / f'search_{part}.json')
                  for part in ('train', 'val'))
    assert len(score[0]) == round(0.2 * len(images))
    for whole, one, two in zip((images, objects), fit, score):
        assert one | two == whole and not one & two


def test_the_seed_draws_which(annotations: Path) -> None:
    drawn = [read(hold_out(annotations, 0.25, seed)[1])[0]
             for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(('share', 'held'), [(1e-6, 1), (1 - 1e-6, 23)])
def test_each_part_has_an_image(
        annotations: Path, share: float, held: int) -> None:
    assert len(read(hold_out(annotations, share)[1])[0]) == held


@pytest.mark.parametrize('share', ['0', '1', '-0.5', 'nan'])
def test_what_is_no_share_is_refused(
        annotations: Path, share: str) -> None:
    main = runpy.run_path(str(TOOL))['main']
    with pytest.raises(SystemExit, match=r'share=.* accepted: a number'):
        main([str(annotations), f'--share={share}'])


def test_the_tool_says_what_it_wrote(annotations: Path, capsys) -> None:
    runpy.run_path(str(TOOL))['main']([str(annotations)])
    assert 'search_train.json' in capsys.readouterr().out
    assert len(list(annotations.parent.iterdir())) == 3


def write_images(folder: Path, names: list[str]) -> None:
    """Images of 4 px."""
    import cv2
    import numpy as np
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))


def test_a_folder_is_listed_as_mmseg_reads_it(tmp_path: Path) -> None:
    from mmseg.datasets import ADE20KDataset
    names = [f'{number:02}' for number in range(20)]
    write_images(tmp_path / 'images/training', [f'{n}.jpg' for n in names])

    def read_list(ann_file: str) -> set[str]:
        dataset = ADE20KDataset(
            data_root=str(tmp_path), ann_file=ann_file, data_prefix=dict(
                img_path='images/training',
                seg_map_path='annotations/training'))
        return {dataset.get_data_info(i)['img_path']
                for i in range(len(dataset))}

    written = hold_out(tmp_path / 'images/training', 0.25)
    assert written == [tmp_path / f'images/search_{part}.txt'
                       for part in ('train', 'val')]
    fit, score = (read_list(str(path.relative_to(tmp_path)))
                  for path in written)
    assert (len(fit), len(score)) == (15, 5)
    assert fit | score == read_list('')


def test_folders_of_classes_are_listed_as_mmpretrain_reads_them(
        tmp_path: Path) -> None:
    from mmpretrain.datasets import ImageNet
    names = [f'n{label}/{number}.JPEG'
             for label in range(3) for number in range(4)]
    write_images(tmp_path / 'train', names)

    def read_list(ann_file: str) -> set[tuple[str, int]]:
        dataset = ImageNet(
            data_root=str(tmp_path), split='train', ann_file=ann_file,
            metainfo=dict(classes=('a', 'b', 'c')))
        return {(info['img_path'], info['gt_label']) for info in map(
            dataset.get_data_info, range(len(dataset)))}

    fit, score = (read_list(path.name)
                  for path in hold_out(tmp_path / 'train', 0.25))
    assert (len(fit), len(score)) == (9, 3)
    assert fit | score == read_list('')


def test_a_list_is_split(tmp_path: Path) -> None:
    (tmp_path / 'train.txt').write_text('a 0\nb 1\nc 2\n')
    fit, score = (path.read_text().splitlines()
                  for path in hold_out(tmp_path / 'train.txt', 0.3))
    assert sorted(fit + score) == ['a 0', 'b 1', 'c 2']
    assert len(score) == 1
