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
