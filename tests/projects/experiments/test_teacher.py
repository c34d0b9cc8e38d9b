from pathlib import Path

import pytest

from projects.experiments.runs import ExperimentFailed, Run
from projects.experiments.teacher import find_teacher, keep_history

UNIFORM = dict(type='mmrlkd.UniformSelector')


@pytest.fixture
def run(tmp_path: Path, config_text):
    def make(name: str, selector: dict | None = UNIFORM, **changes) -> Run:
        config = tmp_path / f'{name}.py'
        config.write_text(config_text(selector, **changes))
        return Run(name, 0, tmp_path / name, config)

    return make


@pytest.fixture(autouse=True)
def back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_that_is_there_is_taken(tmp_path: Path, run) -> None:
    (tmp_path / 'teacher.pth').touch()
    found = find_teacher(tmp_path, [run('student', None), run('one')], ())
    assert found == str(tmp_path / 'teacher.pth')
    assert find_teacher(tmp_path, [run('student', None)], ()) is None
    assert find_teacher(tmp_path, [run('one', checkpoint='https://a/b.pth')],
                        ()) == 'https://a/b.pth'


def test_one_that_is_not_is_trained(tmp_path: Path, run) -> None:
    found = find_teacher(tmp_path, [run('one')], ('a=1', ))
    assert found == Run('teacher', 0, tmp_path / 'teacher', tmp_path / 't.py',
                        ('a=1', ))
    assert found.name == 'teacher'


def test_one_that_was_trained_here_stays_the_teacher(
        tmp_path: Path, run) -> None:
    (tmp_path / 'teacher').mkdir()
    (tmp_path / 'teacher/last_checkpoint').write_text('/gone/iter_4.pth')
    (tmp_path / 'teacher.pth').touch()  # somebody made it since
    assert isinstance(find_teacher(tmp_path, [run('one')], ()), str)
    (tmp_path / 'teacher/iter_4.pth').touch()
    assert isinstance(find_teacher(tmp_path, [run('one')], ()), Run)


def test_a_config_of_a_library_becomes_a_file(tmp_path: Path, run) -> None:
    one = run('one')
    one.config.write_text(one.config.read_text().replace(
        't.py', 'mmrlkd::demo/detection_teacher.py'))
    found = find_teacher(tmp_path, [one], ())
    assert found.cfg.model.type == 'GFL'
    assert found.config.name == 'detection_teacher.py'


def test_two_teachers_are_refused(tmp_path: Path, run) -> None:
    with pytest.raises(ExperimentFailed, match='the same teacher in all'):
        find_teacher(tmp_path, [
            run('one'), run('two', checkpoint='other.pth')], ())


def test_a_teacher_must_have_a_config_to_be_trained(
        tmp_path: Path, run) -> None:
    one = run('one')
    one.config.write_text(one.config.read_text().replace("'t.py'", 'dict()'))
    with pytest.raises(ExperimentFailed, match='names no config to train'):
        find_teacher(tmp_path, [one], ())


def test_the_history_of_one_from_elsewhere_is_kept(
        tmp_path: Path, config_text, write_history, record) -> None:
    write_history(tmp_path / 'far', 'big', config_text(None), .5, record(4))
    (tmp_path / 'far/iter_4.pth').touch()
    work = tmp_path / 'work'
    keep_history(str(tmp_path / 'far/iter_2.pth'), work)
    assert not work.exists()  # what is logged is of another
    keep_history(str(tmp_path / 'far/iter_4.pth'), work)
    kept = sorted(str(p.relative_to(work)) for p in work.rglob('*.*'))
    assert kept == ['teacher/1/vis_data/scalars.json', 'teacher/big.py']
    keep_history('https://a/b.pth', work)
