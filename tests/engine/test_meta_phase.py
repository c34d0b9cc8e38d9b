"""Phase 4: a run learns a meta-policy once its student is trained."""

import json
from pathlib import Path

import pytest

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.selection.meta_policy import load_meta_policy

SELECTOR = dict(
    type='mmrlkd.PolicySelector', horizon=1, rollout_batches=1,
    policy=dict(type='mmrlkd.TokenPolicy', width=3, hidden=8, layers=1),
    learner=dict(type='mmrlkd.ExpectedReward', steps=1))


LEARNER = dict(type='mmrlkd.MAML', lr=.3, steps=1, shots=4)


def hook(*tasks, **options):
    return dict(
        type='mmrlkd.MetaPhaseHook', tasks=[str(path) for path in tasks],
        **dict(dict(iterations=2, interval=1, images=8, learner=LEARNER),
               **options))


def test_a_run_learns_a_meta_policy_and_another_begins_with_it(
        run_config, train, save_task, tmp_path):
    save_task(tmp_path / 'other.safetensors', 'ResidualReward', levels=3)
    cfg = run_config(selector=SELECTOR)
    cfg.custom_hooks.append(hook(tmp_path / 'other.safetensors'))
    runner = train(cfg)
    folder = Path(cfg.work_dir, 'meta')
    meta = load_meta_policy(folder / 'meta.pth')
    assert meta.tasks == (str(tmp_path / 'other.safetensors'), 'this run')
    assert meta.reward['type'] == 'ResidualReward' and meta.space is None
    log = json.loads((folder / 'log.json').read_text())
    assert [line['iteration'] for line in log] == [0, 1, 2]
    # From where the run's policy ended, which stays.
    own = runner.model.selector.policy.shared.state_dict()
    learnt = meta.policy.shared.state_dict()
    size = max((own[name] - learnt[name]).abs().max() for name in own)
    assert 0 < size < .01

    # Another run in the same work dir, which does not resume, learns its own.
    cfg = run_config(selector=SELECTOR)
    cfg.custom_hooks.append(hook(
        tmp_path / 'other.safetensors', learner=dict(LEARNER, lr=.1)))
    train(cfg)
    again = load_meta_policy(folder / 'meta.pth').policy.shared.state_dict()
    assert max((again[name] - learnt[name]).abs().max() for name in again) > 0

    cfg = run_config('next', selector=dict(
        SELECTOR, init=str(folder / 'meta.pth'), adapt_steps=2, shots=8))
    runner = train(cfg)
    assert not runner.model.selector._adaptation.pending


@pytest.mark.parametrize(('selector', 'reward', 'options', 'message'), [
    (SELECTOR, 'AlignmentReward', {},
     "tasks=.*; accepted: tasks with the run's reward"),
    (dict(SELECTOR, policy=dict(type='mmrlkd.MLPPolicy', hidden=8)),
     'ResidualReward', {}, 'accepted: a PolicySelector with policy=.*TokenPolicy'),
    (SELECTOR, 'ResidualReward', dict(images=4),
     "images=4; accepted: more than the learner's shots=4"),
    (SELECTOR, 'ResidualReward', dict(
        images=9000, learner=dict(LEARNER, shots=8000)), 'shots=8000')])
def test_what_does_not_fit_is_refused_before_the_training(
        run_config, train, save_task, tmp_path, monkeypatch, selector, reward,
        options, message):
    monkeypatch.setattr(PyramidDistiller, 'train_step', None)
    save_task(tmp_path / 'other.safetensors', reward)
    cfg = run_config(selector=selector)
    cfg.custom_hooks.append(hook(tmp_path / 'other.safetensors', **options))
    with pytest.raises(ValueError, match=message):
        train(cfg)
