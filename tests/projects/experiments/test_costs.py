import json
from pathlib import Path

import pandas as pd
import pytest
from mmengine.config import Config

from projects.experiments.costs import (
    SearchCost,
    cost_of_phases,
    cost_of_search,
    iterations_of,
    warm_up,
)

#: 30, 40 (of which 8 update the student) and 30 iterations of 100.
PHASES = [dict(name='pretrain', share=30 / 68), dict(name='policy', share=8 / 68),
          dict(name='finetune', share=30 / 68)]


def config(phases: list[dict], *hooks: dict) -> Config:
    return Config(dict(
        train_dataloader=dict(batch_size=8), custom_hooks=[
            dict(type='mmrlkd.SeedHook'), *hooks,
            dict(type='mmrlkd.PhaseHook', phases=phases)]))


def test_the_policy_phase_is_the_search() -> None:
    """Of 0.1 s till 50 and 0.3 s till 100, 30 to 70 has 20 each."""
    cost = cost_of_phases(config(PHASES), 100, pd.Series({50: .1, 100: .3}))
    assert cost.images == 40 * 8
    assert cost.seconds == pytest.approx(20 * .1 + 20 * .3)


def test_the_last_record_speaks_for_the_rest() -> None:
    cost = cost_of_phases(config(PHASES), 100, pd.Series({50: .1, 90: .3}))
    assert cost.seconds == pytest.approx(20 * .1 + 20 * .3)


@pytest.mark.parametrize('phases', [
    [dict(name='pretrain', share=1)],
    [dict(name='policy', share=1, learn_every=0)],
    [dict(name='finetune', share=1)]])
def test_phases_that_search_nothing(phases: list[dict]) -> None:
    assert cost_of_phases(config(phases), 30, pd.Series({30: .5})) == SearchCost(0, 0)


def test_held_out_images_went_through_the_student_too() -> None:
    hook = dict(type='mmrlkd.HeldOutHook', dataloader=dict(batch_size=4))
    phases = [dict(name='search', share=1, learn_every=2)]
    cost = cost_of_phases(config(phases, hook), 10, pd.Series({10: .5}))
    assert cost == SearchCost(10 * 8 + 5 * 4, 5.0)


@pytest.mark.parametrize('length, iterations, choosing_from', [
    # 30 + 8 · 5 + 30 of a student's schedule of 68.
    (dict(max_iters=68), 100, 30),
    # Phases begin with an epoch: 2 + 1 · 5 + 2 of five, each 12 iterations.
    (dict(max_epochs=5), 9 * 12, 2 * 12)])
def test_a_warm_up_counts_iterations_of_the_loop(
        length: dict, iterations: int, choosing_from: int) -> None:
    cfg = config(PHASES)
    cfg.train_cfg = length
    assert warm_up(cfg, iterations) == choosing_from
    log = pd.DataFrame(dict(distill_cost=1.0), range(12, iterations + 1, 12))
    assert iterations_of(cfg, log) == iterations


def history(folder: Path, cut: str = '') -> None:
    trials = [
        dict(score=.3, images=100, seconds=2.0, repeated=False),
        dict(score=None, images=10, seconds=.5, repeated=False),
        dict(score=.3, images=100, seconds=2.0, repeated=True),
    ]
    (folder / 'search').mkdir()
    (folder / 'search/history.jsonl').write_text(
        json.dumps(dict(images=9999)) + '\n'
        + ''.join(json.dumps(trial) + '\n' for trial in trials) + cut)


@pytest.mark.parametrize('cut', ['', '{"score": 0.4, "ima'])
def test_failures_cost_and_repetitions_do_not(
        tmp_path: Path, cut: str) -> None:
    history(tmp_path, cut)
    assert cost_of_search(tmp_path) == SearchCost(110, 2.5)


def test_the_incumbent_knows_what_was_shared(tmp_path: Path) -> None:
    history(tmp_path)
    (tmp_path / 'search/incumbent.json').write_text(
        json.dumps(dict(images=1710, seconds=32.5)))
    assert cost_of_search(tmp_path) == SearchCost(1710, 32.5)
