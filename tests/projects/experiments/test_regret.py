"""Learners on made-up images whose best choices are known."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmrlkd.distillation.selection.environment import subset_costs
from projects.experiments.regret import (
    LEARNERS,
    at_mean_cost,
    bandit,
    measure,
    reference,
)

ROOT = Path(__file__).parents[3]
EXACT = 'ExpectedReward, T = 1'


@pytest.fixture
def task():
    return at_mean_cost('bandit', *bandit(400), mean_cost=2.)


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location(
        'learner_regret_tool', ROOT / 'tools/analysis/learner_regret.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_best_choices_have_the_mean_cost(task):
    costs = subset_costs(task.space.costs)
    worth = task.recording.gains - task.efficiency * costs / costs[-1]
    best = worth[:, 1:].argmax(-1) + 1
    # 400 images: one more or less at P2 is 0.01.
    assert costs[best].mean() == pytest.approx(2., abs=0.02)


def test_an_exact_learner_comes_near_the_optimum(task):
    few, many = (measure('configs/demo/study.py', EXACT, task, 0, batches)
                 for batches in (1, 16))
    assert many['regret'] < 0.4 * few['regret']
    assert many['regret_of_mode'] <= many['regret']
    # Of the same unseen images.
    assert few['regret_of_fixed'] == many['regret_of_fixed'] > many['regret']
    assert few['best'] == many['best']


@pytest.mark.parametrize('name', [
    'ExpectedReward, T = 4, λ found', 'PPO, T = 4', 'GRPO, T = 4, λ found'])
def test_others_learn_from_the_same_images(task, name):
    found = measure('configs/demo/study.py', name, task, 0, 4)
    assert all(torch.tensor(value).isfinite() for value in found.values())
    assert found['regret_of_mode'] >= 0
    assert reference(name) in LEARNERS


def test_what_is_there_is_not_measured_again(
        tool, tmp_path, capsys, monkeypatch):
    calls = []

    def made_up(config, learner, task, seed, batches):
        calls.append((learner, seed))
        return dict(regret=seed + len(learner), regret_of_mode=seed + 1.,
                    regret_of_fixed=2., best=3.)

    monkeypatch.setattr(tool, 'measure', made_up)
    file = tmp_path / 'table.csv'
    arguments = ['bandit', '--results', str(file), '--learners', EXACT]
    tool.main([*arguments, 'PPO, T = 4', '--seeds', '0', '1'])
    tool.main([*arguments, '--seeds', '0', '1', '2'])
    assert calls == [(EXACT, 0), ('PPO, T = 4', 0), (EXACT, 1),
                     ('PPO, T = 4', 1), (EXACT, 2)]
    assert len(pd.read_csv(file)) == 5
    # (10 − 21) / 2, at each seed.
    assert '-5.500 ± 0.000' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        tool.main(['bandit', '--batches', '0'])


def test_a_mean_cost_that_no_choice_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r'--mean-cost 100; accepted: .* 7\.5'):
        at_mean_cost('bandit', *bandit(4), mean_cost=100.)
