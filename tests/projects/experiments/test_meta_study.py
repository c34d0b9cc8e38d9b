"""The study of meta-learning against its baselines."""

import pandas as pd
import pytest
import torch

from projects.experiments import meta_page, meta_study
from projects.experiments.figures import adaptation
from projects.experiments.meta_recordings import TASKS, commands

POLICY = dict(type='mmrlkd.TokenPolicy', width=3, hidden=8, layers=1)
SETTINGS = meta_study.Settings(POLICY, shots=8, iterations=1, steps=1)


@pytest.fixture
def tasks(recorded_task):
    return dict(one=recorded_task(seed=1, images=16),
                two=recorded_task(4, 5, seed=2, images=16))


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(meta_study, 'RATES', (.1, 1.))
    monkeypatch.setattr(meta_study, 'JUDGED', (1, ))
    monkeypatch.setattr(meta_study, 'UPDATES', (0, 1, 5))
    # The page names these as they are.
    monkeypatch.setattr(meta_page, 'UPDATES', (0, 1, 5))


def test_regrets_of_fixed_choices(tasks):
    """By enumeration, of the subsets that an image may be given."""
    support, rest = meta_study.divide(tasks['one'], 8, seed=0)
    found = meta_study.fixed_regrets(support, rest, seed=0)
    outcomes = rest.tree.outcomes
    worth, shots = rest.worth[:, outcomes], support.worth[:, outcomes]
    best = worth.amax(1)
    assert found[meta_study.RANDOM] == pytest.approx(
        (best - worth.mean(1)).mean().item(), abs=1e-6)
    chosen = int(shots.mean(0).argmax())
    assert found[meta_study.ENUMERATED] == pytest.approx(
        (best - worth[:, chosen]).mean().item(), abs=1e-6)
    assert found[meta_study.BEST] == pytest.approx(
        (best.mean() - worth.mean(0).max()).item(), abs=1e-6)
    assert found[meta_study.BEST] <= found[meta_study.ENUMERATED] <= (
        found[meta_study.RANDOM])
    assert found[meta_study.SEARCHED] >= found[meta_study.BEST] - 1e-6


def test_the_parts_of_a_task_share_no_image(tasks):
    support, rest = meta_study.divide(tasks['one'], 8, seed=1)
    every = torch.cat([support.recording.gains, rest.recording.gains])
    assert len(support.recording) == 8
    assert sorted(every[:, 1].tolist()) == sorted(
        tasks['one'].recording.gains[:, 1].tolist())


def test_a_row_for_each_policy_and_moment(tasks, fast, tmp_path):
    table, told = tmp_path / 'table.csv', []
    rows = meta_study.run(tasks, SETTINGS, [0, 1], 'abc', table, told.append)
    assert told == [f'{name} left out, seed {seed}'
                    for seed in (0, 1) for name in tasks]
    learnt = rows[~rows.method.isin(meta_study.FIXED)]
    assert learnt.groupby(['left_out', 'seed', 'method']).updates.apply(
        list).map(tuple).unique().tolist() == [(0, 1, 5)]
    assert set(learnt.method) == {
        'MAML', 'FOMAML', 'Reptile', 'joint', 'scratch'}
    assert rows.regret.min() >= -1e-6

    # Half of the table is measured again, to the same numbers.
    stored = meta_study.load_rows(table)
    stored[stored.seed == 0].to_csv(table, index=False)
    told.clear()
    again = meta_study.run(tasks, SETTINGS, [0, 1], 'abc', table, told.append)
    assert told == ['one left out, seed 1', 'two left out, seed 1']
    pd.testing.assert_frame_equal(
        again.reset_index(drop=True), rows.reset_index(drop=True))

    text = meta_page.page(rows, SETTINGS, 'the command')
    assert '| MAML | ' in text and 'seeds 0, 1; 8 shots' in text
    assert adaptation.draw(meta_page.by_seed(rows), meta_study.ENUMERATED).axes


def test_differences_are_paired_by_seed():
    rows = pd.DataFrame([
        dict(left_out='x', seed=seed, method=method, updates=updates,
             regret=regret + seed)
        for seed in range(3) for method, updates, regret in (
            ('MAML', 5, .1), ('scratch', 5, .4), ('scratch', 50, .3),
            ('joint', 5, .2), (meta_study.ENUMERATED, 0, .15))])
    found = {other: difference for one, other, difference in
             meta_page.differences(meta_page.by_seed(rows), ['MAML'])
             if one == 'MAML, 5 updates'}
    assert found['scratch, 50 updates'].mean == pytest.approx(-.2)
    assert found[meta_study.ENUMERATED].mean == pytest.approx(-.05)
    # What a seed does to both is in neither interval.
    assert all(each.half_width < 1e-9 for each in found.values())


def test_seeds_that_lack_a_task_are_left_out_of_means():
    rows = pd.DataFrame([
        dict(left_out=task, seed=seed, method='MAML', updates=5, regret=regret)
        for task, seed, regret in (('x', 0, .2), ('y', 0, .4), ('x', 1, 9.))])
    assert meta_page.by_seed(rows).regret.tolist() == pytest.approx([.3])


@pytest.mark.parametrize('task', TASKS, ids=lambda task: task.name)
def test_recordings_are_of_the_demos_configs(task):
    teacher, student, record = commands(task)
    assert teacher[1] == f'configs/demo/{task.name}_teacher.py'
    assert student[1] == record[1] == f'configs/demo/{task.name}.py'
    assert record[2] == str(task.folder / f'student/iter_{task.student}.pth')
    assert f'train_cfg.max_iters={task.student}' in student
