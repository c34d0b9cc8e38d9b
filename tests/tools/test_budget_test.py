"""A controller tested end to end by the command line."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmrlkd.dynamic.controller import Controller
from mmrlkd.dynamic.deployed import (
    ControllerHeader,
    LoadedController,
    save_controller,
)
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.files import digest
from mmrlkd.registry import MODELS

TOOL = Path(__file__).parents[2] / 'tools/budget/test.py'


@pytest.fixture
def command(run_config, plain_config_text, tmp_path):
    """The tool on a tiny detector, whose controller thinks that its settings take
    1 to 4 ms."""
    cfg = run_config(phases=None)
    cfg.model = cfg.model.student
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.budget = dict(
        knobs=[dict(type='mmrlkd.InputScale', scales=(0.5, 1.0)),
               dict(type='mmrlkd.ResidualBlocks', run=[
                   (1, 1, 1, 1), (2, 2, 2, 2)])],
        feature=dict(stage='layer1'))
    config, weights, controller = (
        tmp_path / name for name in ('tiny.py', 'model.pth', 'controller.pth'))
    cfg.dump(config)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), weights)
    parts = BudgetParts.build(model, cfg.budget)
    times = torch.arange(1., 5.)
    latency = LatencyModel(times, torch.ones(4), times, torch.zeros(12),
                           torch.zeros(12, 4), 0.9)
    save_controller(controller, LoadedController(ControllerHeader(
        knobs=parts.space.header(), feature_dim=12, context_dim=0,
        overhead_ms=0.1, budgets=(1, 5), model=digest(weights),
        feature=parts.feature.describe()), latency, Controller(12, (2, 2))))

    def run(*words):
        return runpy.run_path(str(TOOL))['main']([
            str(config), str(weights), str(controller), *words, '--device', 'cpu',
            '--drift', 'ignore'])

    return run


def test_every_budget_has_its_numbers(command, tmp_path, capsys):
    result, = command(
        '--out', str(tmp_path / 'test.json'), '--budget-ms', '1.2', '1e6')
    assert json.loads((tmp_path / 'test.json').read_text()) == result
    low, high = result['budgets']
    # The lowest budget leaves the cheapest setting, in which nothing is that fast.
    chosen = [name for each in low['settings'].values() for name in each]
    assert set(chosen) == {'scale=0.5 blocks=1-1-1-1'}
    assert (low['looked'], high['looked']) == (0, 1)
    assert low['within'] == 0 and high['within'] == 1
    for row in (low, high):
        assert row['images'] == 8
        assert sum(sum(each.values()) for each in row['settings'].values()) == 8
        assert 'coco/bbox_mAP' in row['metrics']
        latency = row['latency_ms']
        assert 0 < latency['p50'] <= latency['p95'] <= latency['p99']
    assert 'coco/bbox_mAP' in capsys.readouterr().out


def test_each_controller_has_a_file(command, tmp_path, capsys):
    other = tmp_path / 'other.pth'
    shutil.copy(tmp_path / 'controller.pth', other)
    results = command(str(other), '--budget-ms', '1e6')
    for name, result in zip(('controller', 'other'), results, strict=True):
        assert result['controller'] == str(tmp_path / f'{name}.pth')
        assert json.loads((tmp_path / f'{name}.pth.test.json').read_text()) == result
    with pytest.raises(SystemExit):
        command(str(other), '--out', 'one.json', '--budget-ms', '1')
    assert '--out names one file' in capsys.readouterr().err


@pytest.mark.parametrize('budget', ['0', '-1', 'nan', '0.9'])
def test_bad_budgets_end_with_a_sentence(command, budget):
    with pytest.raises(SystemExit, match=(
            'budget_ms=.*; accepted: numbers >= 1, the ms that the cheapest')):
        command('--budget-ms', budget)
