"""Recorded environments against the live one, and against enumeration."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from safetensors import safe_open
from safetensors.torch import save_file

from mmrlkd.distillation.recording import (
    efficiency_of,
    record,
    record_images,
    warmed_up,
)
from mmrlkd.distillation.selection.recorded import (
    Header,
    RecordedEnvironment,
    Recording,
    load_recording,
    load_tasks,
    save_recording,
)
from mmrlkd.registry import POLICIES
from mmrlkd.rl import play
from mmrlkd.structures import LevelSpace, Phase

SPACE = LevelSpace(('P3', 'P4', 'P5'), (4., 2., 1.), 6., (2, 3, 4), 5,
                   (8., 16., 32.), min_levels=0, context=1)
SELECTOR = dict(
    type='mmrlkd.PolicySelector', context=['objects'],
    policy=dict(type='mmrlkd.LSTMPolicy', hidden=8))


def made_up(images=5):
    gains = torch.randn(images, 8)
    gains[:, 0] = 0
    return Recording(
        global_feature=torch.randn(images, 5),
        level_features=torch.randn(images, 9),
        context=torch.rand(images, 1), level_losses=torch.rand(images, 3),
        gains=gains, batch_size=[images])


@pytest.fixture
def header():
    return Header(SPACE, 'config.py', 'ab' * 32,
                  dict(type='WorthReward', level_values=[1., 2., 3.]), .4,
                  ('objects', ))


@pytest.fixture
def build_policy():

    def build(space=SPACE, horizon=3):
        policy = POLICIES.build(dict(
            type='mmrlkd.LSTMPolicy', hidden=8, global_dim=4, level_dim=2))
        policy.bind(space, horizon)
        for weight in policy.heads.action[2].parameters():
            weight.data.normal_()
        return policy

    return build


# -- against the live environment ----------------------------------------------


@pytest.mark.parametrize('reward', ['ResidualReward', 'AlignmentReward'])
@pytest.mark.parametrize('horizon', [1, 4])
def test_episodes_are_those_of_the_live_environment(
        build_distiller, detection_batch, horizon, reward):
    """What is seen before every step, and every reward, of a training step."""
    model = build_distiller(selector=dict(
        SELECTOR, horizon=horizon, reward=dict(type=f'mmrlkd.{reward}')),
        budget=4.0)
    model.distillation.running_mean.copy_(torch.tensor([.5, 1., 2., 3.]))
    # As the training step moves it, before it asks for gains.
    reward = warmed_up(
        model, model.selector.reward, [copy.deepcopy(detection_batch)])
    before = copy.deepcopy(model.run_state())
    recorded = RecordedEnvironment(
        record_images(model, reward, [copy.deepcopy(detection_batch)]),
        model.distillation.space, horizon, reward.efficiency)
    assert str(model.run_state()) == str(before)  # recording changes nothing

    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)))
    model.schedule.set(Phase('policy', 1.0), 0, 0.0)
    model.train_step(copy.deepcopy(detection_batch), optimizer)
    live = model.selector.storage.gather(torch.device('cpu'))
    state = recorded.reset()
    for t in range(horizon):
        for key, value in live.observation[t].items():
            torch.testing.assert_close(state.get(key), value)
        state, earned = recorded.step(live.action[t])
        torch.testing.assert_close(
            earned, live.reward[t], rtol=1e-5, atol=1e-6)
    assert live.reward.abs().max() > .01  # there is something to compare


def test_a_recording_repeats_itself(build_distiller, detection_batch):
    model = build_distiller(selector=SELECTOR)
    one, two = (record(model, copy.deepcopy(detection_batch),
                       model.selector.reward) for _ in range(2))
    assert (one == two).all()
    assert one.context[:, 0].max() > 0


def test_the_efficiency_is_the_one_that_is_charged(build_distiller):
    """The reward's, or where a mean cost is held the multiplier that does."""
    reward = dict(type='mmrlkd.ResidualReward', efficiency=.3)
    for selector, expected in (
            (dict(SELECTOR, reward=reward), .3),
            (dict(type='mmrlkd.GatedSelector', reward=reward), .3),
            (dict(SELECTOR, mean_cost=2.), 4 * .2)):
        model = build_distiller(selector=selector, costs=dict(
            P2=4., P3=2., P4=1., P5=.5))
        if 'mean_cost' in selector:
            model.selector.multiplier.load_run_state(dict(
                price=torch.tensor(4.), temperature=torch.tensor(.2)))
        assert efficiency_of(model) == pytest.approx(expected)


# -- rewards and regret --------------------------------------------------------


def test_rewards_sum_to_what_is_worth_more_than_nothing(build_policy):
    recording = made_up(50)
    task = RecordedEnvironment(recording, SPACE, 3, .7)
    for _ in range(2):  # a second reset begins anew
        played = play(task, build_policy())
        held = played.action[-1]
        cost = torch.tensor([0, 4, 2, 6, 1, 5, 3, 7.])[held] / 7
        expected = recording.gains[torch.arange(50), held] - .7 * cost
        torch.testing.assert_close(played.reward.sum(0), expected)


@pytest.mark.parametrize('horizon', [1, 3])
def test_expected_reward_is_the_mean_of_what_is_played(build_policy, horizon):
    task = RecordedEnvironment(made_up(2), SPACE, horizon)
    policy = build_policy(horizon=horizon)
    expected = task.expected_reward(policy)
    many = task.take(torch.tensor([0, 1]).repeat(20000))
    returns = play(many, policy).reward.sum(0).view(-1, 2)
    error = returns.std(0) / 20000**.5
    assert ((returns.mean(0) - expected).abs() < 4 * error).all()
    best = torch.stack([
        task.worth[:, s] - task.worth[:, 0] for s in range(7)]).amax(0)
    torch.testing.assert_close(task.regret(policy), best - expected.detach())


def test_the_best_fixed_subset_is_one_that_the_budget_pays_for():
    recording = made_up(3)
    recording.gains[:, 7] = 100.  # costs 7, the budget is 6
    recording.gains[:, 5] = torch.tensor([3., 0., 1.])
    recording.gains[:, 2] = torch.tensor([0., 2., 0.])
    for subset in (1, 3, 4, 6):
        recording.gains[:, subset] = -1.
    subset, regret = RecordedEnvironment(
        recording, SPACE, efficiency=0.).fixed_regret()
    assert subset == 5
    assert regret.tolist() == [0., 2., 0.]


def test_taking_images(build_policy):
    task = RecordedEnvironment(made_up(5), SPACE, 3)
    part = task.take(torch.tensor([3, 1]))
    assert part.batch_size == 2
    policy = build_policy()
    torch.testing.assert_close(
        part.expected_reward(policy), task.expected_reward(policy)[[3, 1]])


# -- files ---------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(header, tmp_path):
    path, recording = tmp_path / 'one.safetensors', made_up()
    save_recording(path, recording, header)
    found, of = load_recording(path, checkpoint='ab' * 32)
    assert (found == recording).all() and of == header
    task = RecordedEnvironment.load(path, horizon=2)
    assert (task.horizon, task.efficiency, task.space) == (2, .4, SPACE)
    assert RecordedEnvironment.load(path, efficiency=0.).efficiency == 0
    with safe_open(path, 'pt') as file:  # readable without this package
        entries = file.metadata()
    assert json.loads(entries['reward'])['type'] == 'WorthReward'
    assert json.loads(entries['space'])['costs'] == [4., 2., 1.]
    assert json.loads(entries['checkpoint']) == 'ab' * 32


def test_a_recording_of_another_student_is_refused(header, tmp_path):
    path = tmp_path / 'one.safetensors'
    save_recording(path, made_up(), header)
    with pytest.raises(ValueError, match='recording of another student: its '
                       'checkpoint has the SHA-256 abababababab…; accepted: '
                       'cdcdcdcdcdcd…'):
        RecordedEnvironment.load(path, checkpoint='cd' * 32)


@pytest.mark.parametrize('write', [
    lambda path: None, lambda path: path.write_text('nothing'),
    lambda path: save_file({'gains': torch.zeros(2, 8)}, path)])
def test_another_file_is_refused(write, tmp_path):
    path = tmp_path / 'one.safetensors'
    write(path)
    with pytest.raises(ValueError, match='is no recording .*; accepted: a file '
                       'of tools/record_environment.py'):
        load_recording(path)


def test_numbers_that_are_not_finite_are_refused(header, tmp_path):
    recording = made_up()
    recording.gains[1, 3] = torch.nan
    with pytest.raises(ValueError, match='gains of some images are not finite'):
        save_recording(tmp_path / 'one.safetensors', recording, header)


def test_a_recording_of_other_levels_is_refused():
    with pytest.raises(ValueError, match=r'recording.level_features=\(5, 9\); '
                       r'accepted: a tensor of shape \(5, 10\)'):
        RecordedEnvironment(
            made_up(), replace(SPACE, level_channels=(2, 3, 5)))


def test_tasks_without_a_common_reward_are_refused(header, tmp_path):
    paths = [tmp_path / f'{name}.safetensors' for name in 'ab']
    for path in paths:
        save_recording(path, made_up(), header)
    assert [task.batch_size for task in load_tasks(paths)] == [5, 5]
    save_recording(paths[1], made_up(), replace(
        header, reward=dict(type='ResidualReward')))
    with pytest.raises(ValueError, match='tasks with a common reward'):
        load_tasks(paths)


def test_no_tasks():
    with pytest.raises(ValueError, match='at least one recording'):
        load_tasks([])


def test_the_example_of_the_architecture_page_runs(
        header, tmp_path, build_policy):
    page = (Path(__file__).parents[3] / 'docs/architecture.md').read_text()
    section = page.split('### Recorded environments')[1]
    scope = {}
    exec(section.split('```python')[1].split('```')[0], scope)
    paths = [tmp_path / f'{name}.safetensors' for name in 'abc']
    for path in paths:
        save_recording(path, made_up(120), header)
    policy = build_policy(horizon=4)
    adapted = scope['adapt_to'](policy, *paths, iterations=2)
    first, second = (RecordedEnvironment.load(paths[0]).regret(each).mean()
                     for each in (policy, adapted))
    assert first != second
