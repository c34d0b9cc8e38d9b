"""tools/budget/train.py and export.py, on a synthetic profile."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mmrlkd.dynamic.deployed import load_controller
from mmrlkd.dynamic.table import read_header

TOOLS = Path(__file__).parents[2] / 'tools/budget'
CONFIG = """
budget = dict(
    controller=dict(hidden=8), updates=2, images=20, train_budgets=2,
    test_budgets=[36.], folds=2,
    algorithm=dict(type='mmrlkd.GRPO', group_size=4, epochs=1, minibatches=1))
"""


@pytest.fixture
def train(tmp_path, write_profile, capsys):
    """Train in a work dir of some name, and what was printed."""
    config = tmp_path / 'config.py'
    profile = write_profile()
    main = runpy.run_path(str(TOOLS / 'train.py'))['main']

    def run(*options, name='work', profile=profile, more=''):
        config.write_text(CONFIG + more)
        main([str(config), str(profile), '--work-dir', str(tmp_path / name),
              *options])
        return capsys.readouterr().out

    return run


def test_it_writes_a_controller_and_a_comparison(train, tmp_path, profile):
    out = train('--seeds', '0', '1')
    folder = tmp_path / 'work'
    assert (folder / 'comparison.png').read_bytes()[:4] == b'\x89PNG'
    rows = pd.read_csv(folder / 'comparison.csv')
    assert set(rows.method) == {'warm start', 'exact', 'GRPO', 'random', 'oracle',
                                'static', 'static, bounded', 'static mix'}
    assert set(rows.seed) == {0, 1} and set(rows.budget) == {36.}
    choices = pd.read_csv(folder / 'choices.csv')
    assert set(choices.difficulty) == {'type 0', 'type 1'}
    assert choices[['scale', 'blocks']].stack().between(0, 1).all()
    assert (choices.groupby(['seed', 'method']).images.sum() == 100).all()

    summary = json.loads((folder / 'comparison.json').read_text())
    assert summary['seeds'] == [0, 1] and summary['algorithm'] == 'GRPO'
    budget, = summary['budgets']
    found = budget['methods']['GRPO']['quality']
    mean = rows[rows.method == 'GRPO'].quality.mean()
    assert found['mean'] == pytest.approx(mean)
    assert f'{mean:.4f} ± ' in out
    above = budget['above']['static']
    assert above['mean'] == pytest.approx(
        mean - rows[rows.method == 'static'].quality.mean())

    controller = load_controller(folder / 'controller.pth')
    assert controller.header.algorithm == 'GRPO'
    assert controller.space.header() == profile.space.header()
    assert controller.choose(profile.features, None, 36.).shape == (200, )


def test_finished_seeds_are_not_trained_again(train, tmp_path):
    train('--seeds', '0')
    out = train('--seeds', '0', '1')
    assert 'seed 0: training' not in out and 'seed 1: training GRPO' in out
    # The same as without an interruption.
    train('--seeds', '0', '1', name='other')
    for name in ('comparison.csv', 'choices.csv', 'comparison.json'):
        assert (tmp_path / 'work' / name).read_text() == (
            tmp_path / 'other' / name).read_text()
    # A result of another plan is none of this one.
    out = train('--seeds', '0', '--cfg-options', 'budget.updates=1')
    assert 'seed 0: training GRPO' in out


def test_a_config_and_a_table_of_other_knobs_are_refused(train):
    with pytest.raises(SystemExit, match='is of the knobs .*asked for'):
        train(more="budget['knobs'] = [dict(type='mmrlkd.InputScale', "
              'scales=(0.5, 1.0))]')


def test_a_log_is_announced_as_such(train, write_profile, profile_rows, tmp_path):
    rows = [{**row, 'feature': [1., 2.], 'propensity': 1 / 6} for k, row in
            enumerate(profile_rows(420)) if k % 6 == row['image'] % 6]
    path = write_profile(rows, 'log')
    with pytest.raises(SystemExit, match="'log' and was announced as 'complete'"):
        train(profile=path)
    train('--kind', 'log', '--seeds', '0', '--cfg-options',
          'budget.latency.quantile=0.9', profile=path)
    rows = pd.read_csv(tmp_path / 'work/comparison.csv')
    assert rows.method.tolist() == ['logged']
    assert rows.matched.between(0.1, 0.3).all()


def test_a_controller_is_exported(train, tmp_path, capsys):
    train('--seeds', '0')
    path = tmp_path / 'work/controller.pth'
    main = runpy.run_path(str(TOOLS / 'export.py'))['main']
    profile = next(tmp_path.glob('*.parquet'))
    assert read_header(profile) is not None
    main([str(path), str(profile)])
    out = capsys.readouterr().out
    int8 = load_controller(path.with_name('controller_int8.onnx'))
    assert f'{int8.agreement.same_setting:.2%} get the same setting' in out
    other = path.with_name('other.pth')
    other.write_bytes(path.read_bytes())
    main([str(path), str(other), str(profile)])
    assert path.with_name('other_int8.onnx').read_bytes() == path.with_name(
        'controller_int8.onnx').read_bytes()
    with pytest.raises(SystemExit, match='2'):
        main([str(path), str(other), str(profile), '--out', str(other)])
    with pytest.raises(SystemExit, match='accepted: one with float weights'):
        main([str(path.with_name('controller_int8.onnx')), str(profile)])


def test_it_starts_beside_a_file_named_like_a_standard_module(tmp_path):
    """profile.py in this folder would replace the one that torch imports."""
    (tmp_path / 'config.py').write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, TOOLS / 'train.py', tmp_path / 'config.py',
         tmp_path / 'none.parquet'], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'none.parquet is not a file; accepted' in done.stderr
