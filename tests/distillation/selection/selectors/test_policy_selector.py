"""The learned selector: plays, remembers, learns, resumes."""

import copy
import io
import math
from dataclasses import fields

import pytest
import torch

from mmrlkd.rl import PPODiagnostics

POLICY = dict(type='mmrlkd.LSTMPolicy', hidden=16, global_dim=5, level_dim=3)


@pytest.fixture
def make(build, make_space):

    def make(levels=4, budget=None, **kwargs):
        settings = dict(policy=POLICY, rollout_batches=2) | kwargs
        return build('PolicySelector', make_space(levels, budget), **settings)

    return make


@pytest.fixture
def play(start, make_signals):
    """Select and observe a batch of made-up images."""

    def play(selector, batch=6, losses=None):
        levels = len(selector.space)
        losses = torch.rand(batch, levels) if losses is None else losses
        choice = selector.select(
            start(selector, torch.randn(len(losses), 5)))
        selector.observe(make_signals(losses), choice)
        return choice.selection

    return play


def weights(selector):
    return torch.cat([p.detach().flatten()
                      for p in selector.policy.parameters()])


def stored(selector):
    return selector.storage.gather(torch.device('cpu'))


def test_default_config(build, make_space):
    selector = build('PolicySelector', make_space())
    assert type(selector.policy).__name__ == 'LSTMPolicy'
    assert type(selector.reward).__name__ == 'ResidualReward'
    assert type(selector.learner).__name__ == 'PPO'
    assert (selector.horizon, selector.rollout_batches) == (4, 4)
    assert selector.multiplier.value() == selector.reward.efficiency


@pytest.mark.parametrize('horizon', [1, 2, 4])
def test_keeps_the_episode_it_played(
        make, start, make_losses, make_signals, horizon):
    selector = make(horizon=horizon)
    losses = make_losses(torch.rand(6, 4))
    choice = selector.select(
        start(selector, torch.randn(6, 5), losses))
    assert choice.episode.reward is None
    selector.observe(make_signals(losses.losses), choice)
    selection = choice.selection
    rollout = stored(selector)
    assert rollout.action.shape == (horizon, 6)
    assert rollout.observation.action_mask.shape == (horizon, 6, 16)
    assert rollout.observation.action_mask.gather(
        -1, rollout.action[..., None]).all()
    # Levels accumulate, and the last action is what was selected.
    assert (rollout.action[1:] & rollout.action[:-1]).equal(
        rollout.action[:-1])
    bits = rollout.action[-1, :, None] >> torch.arange(4) & 1
    assert selection.levels.equal(bits.bool())
    assert rollout.observation.step[:, 0].tolist() == list(range(horizon))
    # Losses were asked for after each step but the last, for what was selected
    # by then.
    assert len(losses.asked) == horizon - 1
    for asked, action in zip(losses.asked, rollout.action):
        assert asked.equal((action[:, None] >> torch.arange(4) & 1).bool())


def test_rewards_are_those_of_the_episode(make, start, make_signals):
    selector = make(reward=dict(type='mmrlkd.ResidualReward', efficiency=0.))
    losses = torch.rand(6, 4)
    choice = selector.select(start(selector, torch.randn(6, 5)))
    scalars = selector.observe(make_signals(losses), choice)
    levels = choice.selection.levels
    covered = losses.where(levels, 0.).sum(-1) / losses.sum(-1).mean()
    rewards = stored(selector).reward
    torch.testing.assert_close(rewards.sum(0), covered)
    torch.testing.assert_close(scalars['reward'], covered.mean())
    assert 0 < scalars['policy_entropy'] < math.log(15)


def test_budget_is_kept_in_training_and_evaluation(make, play):
    selector = make(budget=3.)
    for mode in True, False:
        levels = play(selector.train(mode), batch=200).levels
        cost = (levels * torch.tensor((4., 2., 1., .5))).sum(-1)
        assert cost.max() <= 3
        assert levels.any(-1).all()


def test_evaluation_keeps_nothing(make, play):
    selector = make().eval()
    play(selector)
    assert len(selector.storage) == 0


def test_without_learning_it_keeps_nothing(make, play):
    selector = make(reward=dict(type='mmrlkd.AlignmentReward'))
    assert selector.needs_gradients
    selector.learning = False
    assert not selector.needs_gradients
    play(selector)
    assert len(selector.storage) == 0
    assert selector.learn() is None


def test_a_choice_without_an_episode_is_not_observed(
        make, start, make_signals):
    """Nothing is left behind by a choice that could be taken for another's."""
    selector = make()
    played = selector.select(start(selector, torch.randn(6, 5)))
    chosen = selector.eval().select(start(selector, torch.randn(6, 5)))
    assert played.episode is not None and chosen.episode is None
    assert selector.observe(make_signals(torch.rand(6, 4)), chosen) == {}
    assert len(selector.storage) == 0
    selector.observe(make_signals(torch.rand(6, 4)), played)
    assert len(selector.storage) == 1


def test_gradients_of_the_student_stay_with_it(make, start, make_signals):
    selector = make()
    features = torch.randn(6, 5, requires_grad=True)
    losses = torch.rand(6, 4, requires_grad=True)
    choice = selector.select(start(selector, features * 2))
    selector.observe(make_signals(losses * 2), choice)
    assert not choice.selection.weights.requires_grad
    rollout = stored(selector)
    assert not rollout.reward.requires_grad
    assert not rollout.observation.global_feature.requires_grad


def test_learns_once_enough_was_played(make, play):
    selector = make(rollout_batches=3)
    before = weights(selector)
    for _ in range(2):
        play(selector)
        assert selector.learn() is None
    assert weights(selector).equal(before)
    play(selector, batch=2)  # batches need not be of one size
    assert isinstance(selector.learn(), PPODiagnostics)
    assert not weights(selector).equal(before)
    assert len(selector.storage) == 0
    assert selector.learn() is None


def test_stored_probabilities_are_those_of_the_learner(make, play):
    """Sampling and the update agree: no ratio is clipped, none diverges."""
    selector = make(
        rollout_batches=1, learner=dict(
            type='mmrlkd.PPO', epochs=1, minibatches=1))
    play(selector)
    found = selector.learn()
    assert found.clip_fraction == 0
    assert found.approx_kl.abs() < 1e-7


def test_a_broken_image_breaks_neither_selection_nor_policy(
        make, start, make_signals):
    selector = make(rollout_batches=1)
    features = torch.randn(6, 5)
    features[2] = math.nan
    choice = selector.select(start(selector, features))
    assert choice.selection.levels.any(-1).all()
    assert choice.selection.weights.isfinite().all()
    losses = torch.rand(6, 4)
    losses[4] = math.inf
    selector.observe(make_signals(losses), choice)
    found = selector.learn()
    assert found.dropped_episodes == 2
    assert weights(selector).isfinite().all()


def test_progress_reaches_the_learner(make):
    selector = make()
    selector.set_progress(0.5)
    assert selector.learner.optimizer.param_groups[0]['lr'] == 1.5e-4


def test_resumes_bit_for_bit(make, play):
    """Stopped between updates, with a batch already stored."""
    selector = make()
    for _ in range(3):
        play(selector)
        selector.learn()
    file = io.BytesIO()
    torch.save((selector.run_state(), selector.local_run_state(),
                torch.get_rng_state()), file)
    file.seek(0)
    shared, local, rng = torch.load(file, weights_only=True)

    def go_on(selector):
        logs, chosen = [], []
        for _ in range(4):
            chosen.append(play(selector).levels)
            logs.append(selector.learn())
        return chosen, [log for log in logs if log is not None]

    expected, logs = go_on(selector)
    resumed = make()
    resumed.load_run_state(shared)
    resumed.load_local_run_state(local)
    torch.set_rng_state(rng)
    found, resumed_logs = go_on(resumed)

    assert weights(resumed).equal(weights(selector))
    assert all(a.equal(b) for a, b in zip(expected, found, strict=True))
    assert len(logs) == 2
    for one, two in zip(logs, resumed_logs, strict=True):
        for field in fields(one):
            assert getattr(one, field.name).equal(getattr(two, field.name))


def test_a_copy_learns_on_its_own(make, play):
    selector = make(rollout_batches=1)
    twin = copy.deepcopy(selector)
    before = weights(selector)
    play(twin)
    twin.learn()
    assert weights(selector).equal(before)
    assert not weights(twin).equal(before)


@pytest.mark.parametrize('key', ['horizon', 'rollout_batches'])
def test_impossible_settings_are_errors(make, key):
    with pytest.raises(ValueError, match=(
            f'PolicySelector: {key}=0; accepted: an integer >= 1')):
        make(**{key: 0})


def test_acting_under_autocast_is_acting_without():
    """An action's probability is the same when acting under the student's
    mixed precision and when learning without it."""
    import torch

    from mmrlkd.rl import SubsetDistribution
    logits = torch.randn(64, 4)
    feasible = torch.ones(64, 16, dtype=torch.bool)
    plain = SubsetDistribution(logits, feasible)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = SubsetDistribution(logits, feasible)
    assert mixed.probs.dtype == torch.float32
    assert torch.equal(mixed.probs, plain.probs)


def test_rollouts_stored_by_earlier_versions_are_resumed(make, play):
    """Until 0.1 the mask stood beside the states; the update is the same."""
    selector = make()
    play(selector)
    now = selector.local_run_state()['rollouts'][0]
    states = dict(now['observation'])
    mask = states.pop('action_mask')
    states.pop('level_losses')
    earlier = dict(
        states=states, actions=now['action'], feasible=mask,
        log_probs=now['log_prob'], values=now['value'], rewards=now['reward'])
    resumed = make()
    resumed.load_run_state(selector.run_state())
    resumed.load_local_run_state(dict(rollouts=[earlier]))
    logs = []
    for each in selector, resumed:
        torch.manual_seed(3)
        play(each)
        logs.append(each.learn())
    assert weights(resumed).equal(weights(selector))
    for field in fields(logs[0]):
        assert getattr(logs[0], field.name).equal(getattr(logs[1], field.name))


def test_the_names_of_saved_weights_are_those_of_earlier_versions(make):
    state = make().run_state()
    assert {key.rsplit('.', 1)[0] for key in state['policy']} == {
        'encoder.layers.0', 'encoder.layers.2', 'encoder.layers.3',
        'encoder.step', 'heads.action.0', 'heads.action.2', 'heads.value.0',
        'heads.value.2', 'cells.0', 'cells.1'}
    assert set(state['learner']) == {'optimizer'}
    reinforce = make(learner=dict(type='mmrlkd.REINFORCE')).run_state()
    assert set(reinforce['learner']) == {'optimizer', 'baseline', 'updates'}
