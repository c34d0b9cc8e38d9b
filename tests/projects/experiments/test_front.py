from pathlib import Path

import pytest
from mmengine.config import Config

from projects.experiments.front import (
    all_subsets,
    fixed_subset,
    front_runs,
    non_dominated,
)
from projects.experiments.runs import ExperimentFailed, Run


@pytest.mark.parametrize('count', [1, 2, 4, 5])
def test_all_subsets_are_there_once(count: int) -> None:
    levels = [f'P{i}' for i in range(2, 2 + count)]
    subsets = all_subsets(levels)
    assert len(subsets) == len(set(subsets)) == 2**count - 1
    assert subsets[-1] == tuple(levels)


@pytest.mark.parametrize(('points', 'front'), [
    ({}, []),
    (dict(a=(1, 1)), ['a']),
    (dict(a=(1, 1), b=(2, 2)), ['a', 'b']),
    (dict(b=(2, 2), a=(1, 1)), ['a', 'b']),
    (dict(a=(1, 2), b=(2, 1)), ['a']),
    (dict(a=(1, 2), b=(2, 2)), ['a']),  # dearer for nothing
    (dict(a=(1, 1), b=(1, 2)), ['b']),  # better for nothing
    (dict(a=(1, 1), b=(1, 1)), ['a', 'b']),  # the same twice
    (dict(a=(1, 1), b=(2, 3), c=(3, 2), d=(4, 4)), ['a', 'b', 'd']),
])
def test_non_dominated(points: dict, front: list[str]) -> None:
    assert non_dominated(points) == front


@pytest.mark.parametrize(('selector', 'subset'), [
    (dict(type='mmrlkd.UniformSelector'), ('P2', 'P3')),
    (dict(type='FixedSelector', levels=['P3', 'P2']), ('P2', 'P3')),
    (dict(type='mmrlkd.FixedSelector', levels=('P3', )), ('P3', )),
    (dict(type='mmrlkd.FixedSelector', weights=dict(P3=2)), ('P3', )),
    (dict(type='mmrlkd.FixedSelector', weights=dict(P2=1, P3=2)), None),
    (dict(type='mmrlkd.ManualDeepSelector'), None),
    (dict(type='mmrlkd.PolicySelector'), None),
])
def test_equal_weights_make_a_subset(
        config_text, selector: dict, subset: tuple[str, ...] | None) -> None:
    text = config_text(selector)
    assert fixed_subset(Config.fromstring(text, '.py')) == subset
    searching = Config.fromstring(
        text + "search = dict(strategy=dict(type='x'))", '.py')
    assert fixed_subset(searching) is None


@pytest.fixture
def run(tmp_path: Path, config_text):
    def make(name: str, selector: dict | None, seed: int = 0, **changes) -> Run:
        config = tmp_path / f'{name}.py'
        config.write_text(config_text(selector, **changes))
        return Run(name, seed, tmp_path / name, config, ('log_level=DEBUG', ))

    return make


def test_the_others_inherit_from_the_first_that_is_fixed(
        tmp_path: Path, run) -> None:
    student, uniform = run('student', None), dict(type='mmrlkd.UniformSelector')
    runs = [run('uniform', uniform, seed) for seed in (0, 7)]
    front = front_runs(tmp_path, [student, *runs])
    assert [(r.method, r.seed) for r in front] == [
        ('P2', 0), ('P2', 7), ('P3', 0), ('P3', 7)]
    one = front[2]
    assert one.folder == tmp_path / 'front/P3/seed_0'
    assert one.cfg.model.selector == dict(
        type='mmrlkd.FixedSelector', levels=('P3', ))
    assert one.cfg.model.teacher == runs[0].cfg.model.teacher
    assert one.cfg.log_level == 'DEBUG'


def test_only_the_same_training_is_not_repeated(tmp_path: Path, run) -> None:
    uniform = run('uniform', dict(type='mmrlkd.UniformSelector'))
    deep = dict(type='mmrlkd.FixedSelector', levels=('P3', ))
    names = [r.method for r in front_runs(tmp_path, [
        uniform, run('deep', deep)])]
    assert names == ['P2']
    names = [r.method for r in front_runs(tmp_path, [
        uniform, run('deep', deep, iterations=8)])]
    assert names == ['P2', 'P3']


def test_there_must_be_something_to_inherit_from(tmp_path: Path, run) -> None:
    with pytest.raises(ExperimentFailed, match='or --no-front'):
        front_runs(tmp_path, [run('student', None)])
