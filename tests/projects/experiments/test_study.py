import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmrlkd.config.compose import load_config
from projects.experiments import choice, study, study_run
from projects.experiments.figures import families
from projects.experiments.runs import ExperimentFailed
from projects.experiments.study import (
    Entry,
    Study,
    World,
    check_asked,
    read_study,
    weights_hash,
)
from projects.experiments.study_run import load_rows, pending, run_study

FRONT = Path(__file__).parents[3] / 'projects/experiments/studies/front.py'


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A small study whose trainings only write what they leave."""
    monkeypatch.setattr(study, 'RESULTS', tmp_path / 'results')
    monkeypatch.setattr(World, 'teacher', 'abc')
    monkeypatch.setattr(World, 'checkpoint', Path(__file__))
    monkeypatch.setattr(study_run, 'compose', lambda world, entry, seed: entry)
    monkeypatch.setattr(
        study_run, 'read_row', lambda folder, entry: dict(
            subset=entry.name if entry.name.startswith('P') else '',
            quality=float(folder.name[5:]) + 30, distill_cost=entry.budget or 4,
            chosen_cost=1))
    monkeypatch.setattr(
        study_run, 'train_many',
        lambda tasks, jobs: ((task, None) for task in tasks))
    monkeypatch.setattr(study_run, 'commit', lambda: 'c0ffee')
    worlds = {name: World(name, 'pair', 'student') for name in ('a', 'b')}
    return Study('small', 1, worlds, (
        Entry('student'), Entry('P5', 'fixed_subset', priority=1),
        Entry('policy 2', 'ppo', {'x': 2}, family='policy', budget=2),
        Entry('shuffled 2', 'ppo', {'x': 2}, 'shuffled', family='shuffled',
              budget=2, worlds=('a', ))))


def names(tasks) -> list[str]:
    return [f'{world.name} {entry.name} {seed}' for world, entry, seed in tasks]


def test_a_seed_of_everything_comes_first(front: Study) -> None:
    rows = load_rows(front.table)
    tasks = names(pending(front, rows, [], [], [7, 8]))
    assert tasks[:6] == [
        'a student 7', 'b student 7', 'a policy 2 7', 'b policy 2 7',
        'a shuffled 2 7', 'a student 8']
    assert tasks[-4:] == ['a P5 7', 'b P5 7', 'a P5 8', 'b P5 8']
    assert names(pending(front, rows, ['a'], ['policy', 'P5'], [7, 8],
                         'entries')) == [
        'a policy 2 7', 'a policy 2 8', 'a P5 7', 'a P5 8']


def test_only_what_the_table_lacks_is_trained(
        front: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not run_study(front, tmp_path, seeds=[0], say=lambda _: None)
    rows = load_rows(front.table)
    assert len(rows) == 7 and set(rows.commit) == {'c0ffee'}
    assert set(rows[rows.method == ''].teacher) == {''}
    assert not list(pending(front, rows, [], [], [0]))
    assert len(list(pending(front, rows, [], [], [0, 1]))) == 7
    # Another teacher, version or option is another training.
    changed = Study('small', 1, front.worlds, (
        Entry('policy 2', 'ppo', {'x': 3}, family='policy', budget=2), ))
    assert len(list(pending(changed, rows, [], [], [0]))) == 2
    assert len(list(pending(
        Study('small', 2, front.worlds, front.entries), rows, [], [], [0]))) == 7
    monkeypatch.setattr(World, 'teacher', 'def')
    assert names(pending(front, rows, ['a'], [], [0])) == [
        'a policy 2 0', 'a shuffled 2 0', 'a P5 0']


def test_rows_of_an_entry_that_changed_are_not_reported(
        front: Study, tmp_path: Path) -> None:
    assert not run_study(front, tmp_path, seeds=[0, 1], say=lambda _: None)
    changed = replace(front, entries=tuple(
        replace(entry, options={'x': 3}) if entry.name == 'policy 2' else entry
        for entry in front.entries))
    assert not run_study(changed, tmp_path, seeds=[0, 1], say=lambda _: None)
    rows = load_rows(front.table)
    assert len(rows[rows.entry == 'policy 2']) == 8
    for each, options in (front, 'x": 2'), (changed, 'x": 3'):
        reported = study_run.current_rows(each, rows)
        own = reported[reported.entry == 'policy 2']
        assert len(own) == 4 and own.options.str.contains(options).all()
        assert len(reported) == 14
        assert '| a | policy 2 | 2.00 | shuffled 2 |' in choice.page(each, reported)


def test_a_teacher_that_fails_is_told(
        front: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, 'checkpoint', tmp_path / 'teacher/iter_1.pth')
    monkeypatch.setattr(World, 'teacher', property(
        lambda world: weights_hash(world.checkpoint)))
    monkeypatch.setattr(
        study_run, 'train_many',
        lambda tasks, jobs: ((task, ValueError('no')) for task in tasks))
    failures = run_study(front, tmp_path, seeds=[0], say=lambda _: None)
    assert [line[:15] for line in failures] == ['a, teacher: no;', 'b, teacher: no;']


def test_a_config_that_changed_is_told(front: Study, tmp_path: Path) -> None:
    assert not run_study(front, tmp_path, seeds=[0, 1], say=lambda _: None)
    rows = load_rows(front.table)
    assert 'The config changed' not in choice.page(front, rows)
    # Rows from before it was noted are not known to differ.
    rows = rows.assign(config=[
        '' if seed == 0 and entry == 'P5' else
        f'{seed if entry == "policy 2" else "one"}' for entry, seed in zip(
            rows.entry, rows.seed, strict=True)])
    assert ('The config changed between rows of policy 2 (a), policy 2 (b).'
            in choice.page(front, rows))
    cfg = load_config('configs/demo/study.py', 'worth')
    seeded = load_config('configs/demo/study.py', 'worth', {'randomness.seed': 7})
    other = load_config('configs/demo/study.py', 'worth',
                        {'model.selector.mean_cost': 3.0})
    assert study_run.config_hash(cfg) == study_run.config_hash(seeded)
    assert study_run.config_hash(cfg) != study_run.config_hash(other)


def test_a_failure_is_told_and_the_rest_is_trained(
        front: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        study_run, 'train_many', lambda tasks, jobs: (
            (task, ValueError('no') if 'P5' in str(task.folder) else None)
            for task in tasks))
    failures = run_study(front, tmp_path, seeds=[0], say=lambda _: None)
    assert len(failures) == 2 and 'ValueError: no' in failures[0]
    assert len(load_rows(front.table)) == 5


def rows_of(values: dict[str, tuple[float, list[float]]]) -> pd.DataFrame:
    """Rows of one world: cost and the seeds' quality of each entry."""
    return pd.DataFrame([
        dict(world='a', entry=name, family=name.split()[0] if ' ' in name else '',
             seed=seed, teacher='abc', quality=value, distill_cost=cost,
             chosen_cost=cost, subset=name if name.startswith('P') else '', commit='c',
             torch='2', threads=1)
        for name, (cost, some) in values.items()
        for seed, value in enumerate(some)])


def test_differences_are_paired_at_equal_cost(front: Study) -> None:
    rows = rows_of({
        'policy 2': (2, [32, 34, 36]), 'shuffled 2': (2, [31, 33.5, 34]),
        'P5': (.5, [30, 30, 30]), 'P4': (2.01, [31, 36, 33]),
        'P2': (4, [40, 40, 40])})
    found = choice.differences(front, rows)
    # A control is compared with what has no budget, and not with what it controls.
    assert set(found[found.entry == 'shuffled 2'].other) == {
        *found[found.entry == 'policy 2'].other} - {'shuffled 2'}
    found = found[found.entry == 'policy 2'].set_index('other')
    gaps = np.array([1, .5, 2])
    assert found.loc['shuffled 2', 'mean'] == pytest.approx(gaps.mean())
    assert found.loc['shuffled 2', 'half_width'] == pytest.approx(
        stats.t.ppf(.975, 2) * stats.sem(gaps))
    # P2 is dearer, P5 worse: the bar is P4, for all seeds.
    assert found.index[found.best_fixed].tolist() == ['P4']
    assert found.loc['P4', 'mean'] == pytest.approx(2 / 3)
    assert set(found.index) == {'shuffled 2', 'P5', 'P4', 'P2'}
    page = choice.page(front, rows)
    assert '| a | policy 2 | 2.00 | shuffled 2 | +1.17 ± 1.90 | 3 |' in page
    assert families.draw(rows).axes[0].get_title() == 'a'


def test_students_of_two_teachers_are_no_pair(front: Study) -> None:
    """The second teacher's are 10 points better; one entry lacks the first."""
    first = rows_of({'policy 2': (2, [32, 34, 36]), 'shuffled 2': (2, [31, 33, 35]),
                     'P5': (.5, [30, 30, 30])})
    second = rows_of({'policy 2': (2, [42, 44, 46]), 'shuffled 2': (2, [40, 42, 44]),
                      'P5': (.5, [44, 44, 44]), 'P4': (1, [41, 41, 41])})
    rows = pd.concat([first, second.assign(teacher='def')], ignore_index=True)
    found = choice.differences(front, rows)
    # A control is compared with what has no budget, and not with what it controls.
    assert set(found[found.entry == 'shuffled 2'].other) == {
        *found[found.entry == 'policy 2'].other} - {'shuffled 2'}
    found = found[found.entry == 'policy 2'].set_index('other')
    assert found.loc['shuffled 2', 'mean'] == pytest.approx(1.5)
    assert found['count'].to_dict() == {'shuffled 2': 6, 'P5': 6, 'P4': 3}
    assert found.loc['P4', 'mean'] == pytest.approx(3)
    # P4 has the higher mean, of better students: what counts is the pairs.
    assert found.index[found.best_fixed].tolist() == ['P5']
    assert found.loc['P5', 'mean'] == pytest.approx(2)
    assert '| a | policy 2 | 0 1 2 + 0 1 2 |' in choice.page(front, rows)


def test_a_line_joins_entries_of_all_seeds_only() -> None:
    """Means over other seeds would draw a difference that no pair of runs has."""
    figure = families.draw(rows_of({
        'policy 1': (1, [30, 31, 32, 40]), 'policy 2': (2, [32, 34, 36, 44]),
        'policy 3': (3, [33, 34, 35]), 'policy 4': (4, [33, 34]),
        'P4': (1, [29, 30, 31, 32]), 'P3': (2, [30, 30, 30])}))
    panel, = figure.axes
    joined, apart = (
        each for each in panel.containers if hasattr(each, 'lines'))
    assert joined.lines[0].get_xydata().tolist() == [[1, 33.25], [2, 36.5]]
    assert apart.lines[0].get_xydata().tolist() == [[3, 34]]
    assert apart.lines[0].get_linestyle() == 'None'
    assert apart.get_label() == 'policy, fewer seeds'
    texts = [each.get_text() for each in figure.legends[0].get_texts()]
    assert {'fixed subsets', 'fixed subsets, fewer seeds'} <= set(texts)


def test_the_front_names_methods_that_there_are() -> None:
    read = read_study(FRONT)
    assert set(read.worlds) == {'scenes', 'cameras'}
    assert {'student', 'uniform', 'P5', 'policy 1.5', 'shuffled 1.5'} <= {
        entry.name for entry in read.entries}
    assert json.loads(read.entry('shuffled 1.5').text)['control'] == 'shuffled'


def test_the_augmentations_differ_in_nothing_else() -> None:
    read = read_study(FRONT.with_name('augmentations.py'))
    world, = read.worlds.values()
    for method in ('uniform', None):
        configs = [load_config(
            world.student if method is None else world.pair, method,
            entry.options) for entry in read.entries if entry.method == method
            and 'cached' not in entry.name]
        data = [cfg.train_dataloader.dataset for cfg in configs]
        assert [each.pop('variants') for each in data] == [1, 4, 10**6]
        assert all(cfg.to_dict() == configs[0].to_dict() for cfg in configs)
        # Ten epochs: a cache has nearly all maps of the last with K = 4.
        assert configs[0].train_cfg.max_iters * configs[
            0].train_dataloader.batch_size == 10 * data[0].dataset.indices


def test_names_that_a_study_lacks_are_refused(front: Study) -> None:
    check_asked(front, ['a', 'b'], ['P5', 'policy'])
    with pytest.raises(ExperimentFailed, match=r"--worlds 'c'.*accepted: 'a', 'b'"):
        check_asked(front, ['a', 'c'], [])
    with pytest.raises(ExperimentFailed, match=r"--entries 'P4'.*'P5', 'policy 2'"):
        check_asked(front, [], ['P5', 'P4'])


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'x.py').write_text(
        'version = 1\nworlds = {}\nentries = [dict(name="a", colour="red")]')
    with pytest.raises(ExperimentFailed, match='is no study'):
        read_study(tmp_path / 'x.py')
    (tmp_path / 'y.py').write_text(
        'version = 1\nworlds = {}\nentries = [dict(name="a"), dict(name="a")]')
    with pytest.raises(ExperimentFailed, match='names that differ'):
        read_study(tmp_path / 'y.py')
