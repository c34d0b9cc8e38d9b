"""The rewards' ranks for a tiny pair, at a checkpoint of its training."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
POLICY = dict(
    type='mmrlkd.PolicySelector', rollout_batches=2,
    policy=dict(type='mmrlkd.MLPPolicy', hidden=16),
    reward=dict(type='mmrlkd.ResidualReward', level_values=[4., 3., 2., 1.]))


@pytest.fixture
def tool(plain_config_text):
    spec = importlib.util.spec_from_file_location(
        'reward_ranking_tool', ROOT / 'tools/analysis/reward_ranking.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rewards_are_ranked(tool, run_config, train, tmp_path, capsys):
    cfg = run_config(selector=POLICY)
    cfg.model.normalize = 'none'  # worths add up
    train(cfg)
    path = tmp_path / 'config.py'
    cfg.dump(path)
    checkpoint = next((tmp_path / 'run').glob('iter_6.pth'))
    subsets = ['P2', 'P5', 'P2+P5', 'P2+P3+P4+P5']
    table = pd.DataFrame(dict(
        method=subsets, seed=0, quality=[3., 1., 4., 6.], subset=subsets,
        distill_cost=[4., .5, 4.5, 7.5]))
    for column in ('selector', 'levels', 'task', 'quality_name', 'main',
                   'folder'):
        table[column] = ''
    results = tmp_path / 'results.csv'
    table.to_csv(results, index=False)
    arguments = [str(path), str(checkpoint), str(results), '--images', '8',
                 '--out', str(tmp_path / 'out')]
    tool.main(arguments)
    assert "Spearman's" in capsys.readouterr().out
    file = tmp_path / 'out/reward_ranking.json'
    found = json.loads(file.read_text())
    assert found['images'] == 8
    assert {each['reward'] for each in found['rankings']} == {
        *tool.REWARD_TYPES, "the selector's"}
    own = [each for each in found['rankings']
           if each['reward'] == "the selector's"]
    assert [each['efficiency'] for each in own] == [0., .5, 1.]
    assert own[0]['correlation'] == pytest.approx(1)
    assert own[0]['worth']['P2+P3+P4+P5'] == pytest.approx(1)
    assert own[0]['worth']['P2'] == pytest.approx(0.4, abs=0.1)
    tool.main(arguments)  # the same seed gives the same numbers
    assert json.loads(file.read_text()) == found


def test_what_is_no_table_is_refused(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool.main(['a.py', 'a.pth', str(tmp_path / 'none.csv')])


def test_a_study_is_read_by_world(tool, tmp_path):
    file = tmp_path / 'front.csv'
    pd.DataFrame(dict(
        study='front', version=[1, 2, 2], world=['a', 'a', 'b'], entry='P5',
        method='fixed_subset', options='{}', seed=0, teacher='abc',
        subset='P5', quality=[1., 2., 3.])).to_csv(file, index=False)
    assert list(tool.read_results(file, 'a').quality) == [2.]
    with pytest.raises(ValueError, match='--world None; accepted: a, b'):
        tool.read_results(file, None)


def test_strata_are_those_of_the_evaluation(tool, tmp_path):
    images = [dict(id=i, height=8, width=8, difficulty=name, camera=camera)
              for i, (name, camera) in enumerate([
                  ('1-3', 'a'), ('4-7', 'a'), ('1-3', 'b')])]
    (tmp_path / 'train.json').write_text(json.dumps(
        dict(images=images, annotations=[], categories=[])))
    cfg = Config(dict(
        val_evaluator=dict(type='x', strata=('difficulty', 'camera')),
        train_dataloader=dict(dataset=dict(
            data_root=str(tmp_path), ann_file='train.json'))))
    assert tool.strata_of(cfg, [2, 0, 1, 2]) == {
        '1-3': [0, 1, 3], '4-7': [2], 'a': [1, 2], 'b': [0, 3]}
    cfg.val_evaluator.pop('strata')
    assert tool.strata_of(cfg, [2, 0, 1, 2]) == {}
