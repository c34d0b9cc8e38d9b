import re
from dataclasses import replace

import pytest

from mmrlkd.evaluation.results import Results
from mmrlkd.visualization.verdicts import INFERENCE, ONE_SEED, verdicts


def sentence(results: Results, pattern: str) -> str:
    found = [text for text in verdicts(results) if re.search(pattern, text)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(('ppo', 'where'), [
    ((.40, ), '2.0 points above uniform'),
    ((.37, ), '1.0 point below uniform'),
    ((.38, ), 'the same as uniform')])
def test_one_seed_claims_nothing(make_results, ppo, where: str) -> None:
    text = sentence(make_results(ppo=ppo), r'^PPO reached.*uniform')
    assert where in text
    assert text.endswith(f'{ONE_SEED}.')


@pytest.mark.parametrize(('ppo', 'where', 'end'), [
    ((.50, .51, .52), '13.0 points above', 'intervals do not overlap.'),
    ((.25, .26, .27), '12.0 points below', 'intervals do not overlap.'),
    ((.37, .39, .41), '1.0 point above', 'overlap: no difference is shown.')])
def test_intervals_decide_over_several_seeds(
        make_results, ppo, where: str, end: str) -> None:
    results = make_results(ppo=ppo, uniform=(.37, .38, .39))
    text = sentence(results, r'^PPO reached.*uniform')
    assert where in text
    assert text.endswith(end)
    assert ONE_SEED not in text


def test_one_seed_of_one_method_is_too_few(make_results) -> None:
    results = make_results(ppo=(.40, ), uniform=(.37, .38, .39))
    assert ONE_SEED in sentence(results, r'^PPO reached.*uniform')


def test_costs_count_what_the_reward_looked_at(make_results) -> None:
    text = sentence(make_results(), '^An iteration of PPO')
    assert '4.50 against 7.50 of nominal cost (40% less)' in text
    assert 'iterations against' not in text
    assert '0.300 against 0.400 GFLOPs (25% less)' in text
    # (0.3 + 5) / (0.4 + 5)
    assert "with it, the teacher's side cost PPO 2% less" in text
    assert 'Training took 0.8 against 0.8 minutes (the same)' in text


def test_costs_of_a_longer_training_are_totals(make_results) -> None:
    results = lengthened(make_results(), 160)
    text = sentence(results, '^An iteration of PPO')
    # 160 × (0.3 + 5) / (100 × (0.4 + 5))
    assert ('over 160 iterations against 100, the teacher\'s side cost PPO '
            '57% more') in text


@pytest.mark.parametrize(('iterations', 'updates', 'words'), [
    (100, 60, 'iterations, not of updates'),
    (160, 100, 'updates, not of iterations'),
    (160, 120, 'neither of updates nor of iterations')])
def test_what_is_equal_is_said(
        make_results, iterations: int, updates: int, words: str) -> None:
    results = lengthened(make_results(), iterations, updates)
    text = sentence(results, 'updated the student')
    assert f'{updates} of {iterations} iterations' in text
    assert words in text


def lengthened(results: Results, iterations: int,
               updates: int = 100) -> Results:
    """With other lengths for PPO."""
    return replace(results, runs=[
        replace(run, iterations=iterations, student_updates=updates)
        if run.method == 'ppo' else run for run in results.runs])


def test_adaptivity(make_results) -> None:
    text = sentence(make_results(slope=0.2), 'tells images apart')
    assert 'most at P2' in text
    assert '80% of the images in “dense, small”' in text
    assert '0% in “1–3 objects”' in text
    assert 'nearly the same levels' in sentence(
        make_results(slope=0.01), '^PPO gives')


def test_a_policy_that_tells_nothing_apart_is_called_so(make_results) -> None:
    text = sentence(make_results(slope=0), '^PPO gives')
    assert 'the same levels, P3 P4 P5' in text
    assert 'a fixed subset would do the same' in text


def test_room_and_inference(make_results) -> None:
    results = make_results()
    assert '10.0 points ahead' in sentence(results, '^The teacher')
    assert verdicts(results)[-1] == INFERENCE
    assert 'nothing to gain' in sentence(
        make_results(student=(.50, )), '^The teacher')


@pytest.mark.parametrize('kept', [
    {'teacher'}, {'teacher', 'student'}, {'ppo'}, {'teacher', 'uniform'},
    {'student', 'ppo'}])
def test_any_choice_of_methods_has_its_sentences(
        make_results, kept: set[str]) -> None:
    results = make_results()
    some = Results(results.header,
                   [run for run in results.runs if run.method in kept])
    assert INFERENCE in verdicts(some)


@pytest.mark.parametrize(('task', 'unit'), [
    ('segmentation', 'mIoU'), ('classification', 'top-1'),
    ('instance', 'mask mAP')])
def test_each_task_speaks_of_its_own_metric(
        make_results, task: str, unit: str) -> None:
    results = make_results(kd=(.36, ), task=task)
    assert f'(45.0 {unit})' in sentence(results, '^The teacher')
    assert sentence(results, '^Distilling the logits').startswith(
        f'Distilling the logits reached 36.0 {unit}, 1.0 point above the '
        'student alone (35.0)')
    assert ' mAP' not in ''.join(verdicts(results)).replace('mask mAP', '')


def test_without_strata_only_the_whole_is_told(make_results) -> None:
    text = sentence(make_results(task='classification'), 'tells images apart')
    assert text == (
        'PPO tells images apart: over all of them it selects P2 for 40%, P3 '
        'for 100%, P4 for 100%, P5 for 100%. Their difficulty is not known.')
