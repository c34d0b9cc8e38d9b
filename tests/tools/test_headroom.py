"""Headroom of a tiny pair, from its own training and from checkpoints."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POLICY = dict(
    type='mmrlkd.PolicySelector', context=['objects'], rollout_batches=2,
    policy=dict(type='mmrlkd.MLPPolicy', hidden=16),
    reward=dict(type='mmrlkd.AlignmentReward'))


@pytest.fixture
def tool(plain_config_text):
    spec = importlib.util.spec_from_file_location(
        'headroom_tool', ROOT / 'tools/analysis/headroom.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(run_config, tmp_path):

    def write(selector=POLICY):
        path = tmp_path / 'config.py'
        run_config(selector=selector).dump(path)
        return str(path)

    return write


def test_a_short_training_is_recorded(tool, write, tmp_path):
    out = tmp_path / 'out'
    arguments = [write(), '--images', '20', '--train', '4', '--moments', '2',
                 '--out', str(out), '--costs', '1.5', '4']
    tool.main(arguments)
    found = json.loads((out / 'headroom.json').read_text())
    assert list(found['unit']) == ['iteration 2', 'iteration 4']
    assert found['images'] == 16  # all that there are
    assert [row['cost'] for row in found['rows']] == [1.5, 4]
    for row in found['rows']:
        assert row['random'] <= row['mixture'] + 1e-6
        assert row['mixture'] <= row['optimum'] + 1e-6
        assert row['above'] == pytest.approx(row['told'] - row['mixture'])
    assert set(found['reliability']) == {'P2', 'P3', 'P4', 'P5'}
    page = (out / 'headroom.md').read_text()
    assert '| 1.5 |' in page and 'iteration 4' in page
    assert (out / 'headroom.png').stat().st_size > 5000
    tool.main(arguments)  # the same seed gives the same numbers
    assert json.loads((out / 'headroom.json').read_text()) == found


def test_checkpoints_are_moments(tool, run_config, train, tmp_path):
    cfg = run_config(selector=POLICY)
    train(cfg)
    path = tmp_path / 'config.py'
    cfg.dump(path)
    tool.main([str(path), *(
        str(Path(cfg.work_dir, f'iter_{i}.pth')) for i in (4, 8)),
        '--images', '20', '--out', str(tmp_path / 'out')])
    found = json.loads((tmp_path / 'out/headroom.json').read_text())
    assert list(found['unit']) == ['iter_4', 'iter_8']


def test_a_selector_without_reward_is_refused(tool, write):
    with pytest.raises(SystemExit, match='UniformSelector, which has no reward'):
        tool.main([write(dict(type='mmrlkd.UniformSelector'))])


def test_a_cost_that_no_choice_has_is_refused_before_the_training(tool, write):
    with pytest.raises(SystemExit, match=r'--costs 100; accepted: .*0\.5 to 7\.5'):
        tool.main([write(), '--costs', '2', '100', '--train', '1000000'])


def test_options_are_checked(tool, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['config.py', '--images', '3'])
    assert '--images 3: accepted is a number >= 20' in capsys.readouterr().err
