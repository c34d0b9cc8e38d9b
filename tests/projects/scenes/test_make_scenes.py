import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def main():
    return runpy.run_path(str(ROOT / 'tools/datasets/make_scenes.py'))['main']


def test_writes_once(main, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = [str(tmp_path / 'scenes'), '--train', '4', '--val', '4', '--source',
            'digits', '--classes', '10', '--jobs', '1']
    main(argv)
    assert 'is written' in capsys.readouterr().out
    assert (tmp_path / 'scenes' / 'annotations' / 'val.json').exists()
    main(argv)
    assert 'already holds these scenes' in capsys.readouterr().out


@pytest.mark.parametrize(('argv', 'message'), [
    (['--train', '0'], 'train must be 1 or more; got 0.'),
    (['--train', 'many'], "invalid int value: 'many'"),
    (['--size', '16'], 'size must be 64 or more'),
    (['--source', 'coco'], 'source must be auto, fashion-mnist, digits'),
    (['--proportions', '1', '1', '1', '-1'], 'proportions must be'),
    (['--jobs', '0'], 'jobs must be 1 or more'),
    (['--second-camera', '2'], 'second_camera must lie between 0 and 1'),
    (['--colour', 'red'], 'unrecognized arguments')])
def test_bad_arguments_are_refused_in_a_sentence(
        main, tmp_path: Path, capsys: pytest.CaptureFixture, argv: list[str],
        message: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'scenes'), *argv])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert error.count('\n') == 1
    assert not any(tmp_path.iterdir())


def test_a_folder_in_use_is_refused_in_a_sentence(main, tmp_path: Path) -> None:
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(SystemExit, match='holds something else'):
        main([str(tmp_path)])
