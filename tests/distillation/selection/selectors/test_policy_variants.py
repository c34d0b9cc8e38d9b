"""What holds for the learned selector whoever teaches it and however it plays,
and what playing groups and playing greedily add."""

import io
import math
from dataclasses import fields

import pytest
import torch

from mmrlkd.rl import generalized_advantages, subset_table

POLICY = dict(type='mmrlkd.LSTMPolicy', hidden=16, global_dim=5, level_dim=3)
GRPO = dict(type='mmrlkd.GRPO', group_size=3)
VARIANTS = {
    'PPO': dict(learner=dict(type='mmrlkd.PPO')),
    'without sequence': dict(horizon=1),
    'without efficiency': dict(
        reward=dict(type='mmrlkd.ResidualReward', efficiency=0.)),
    'greedy': dict(
        greedy=True, learner=dict(type='mmrlkd.PPO', gamma=0.)),
    'GRPO': dict(learner=GRPO),
    'GRPO without sequence': dict(learner=GRPO, horizon=1),
    'ExpectedReward': dict(learner=dict(
        type='mmrlkd.ExpectedReward', batch_size=4)),
    'ExpectedReward, one step': dict(
        horizon=1, learner=dict(type='mmrlkd.ExpectedReward', batch_size=4)),
    'mean cost': dict(
        horizon=1, learner=dict(type='mmrlkd.ExpectedReward', batch_size=4),
        mean_cost=1.5),
    'mean cost, PPO': dict(mean_cost=1.5),
    'REINFORCE': dict(learner=dict(type='mmrlkd.REINFORCE')),
}
COSTS = torch.tensor([4., 2., 1., .5])


@pytest.fixture
def make(build, make_space):

    def make(variant='PPO', levels=4, budget=None, **kwargs):
        settings = dict(policy=POLICY, rollout_batches=2)
        return build('PolicySelector', make_space(levels, budget),
                     **settings | VARIANTS[variant] | kwargs)

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


@pytest.fixture
def watched(make_losses):
    """Losses that remember who asked for what."""

    class Watched(make_losses):
        asked_for_all = 0

        def compute_all(self):
            self.asked_for_all += 1
            return super().compute_all()

    return lambda batch: Watched(torch.rand(batch, 4) + 0.1)


def weights(selector):
    return torch.cat([p.detach().flatten()
                      for p in selector.policy.parameters()])


def stored(selector):
    return selector.storage.gather(torch.device('cpu'))


def chosen(actions):
    """(…, 4) bool of the subsets ``actions``."""
    return subset_table(4, torch.device('cpu'))[actions]


@pytest.mark.parametrize('variant', VARIANTS)
class TestEveryVariant:

    @pytest.mark.parametrize('levels', [1, 4])
    @pytest.mark.parametrize('batch', [1, 7])
    @pytest.mark.parametrize(('training', 'learning'), [
        (True, True), (True, False), (False, True)])
    def test_selections_are_sound(
            self, make, play, variant, training, learning, batch, levels):
        if 'mean cost' in variant and levels == 1:
            pytest.skip('there is one choice')
        selector = make(variant, levels, budget=2.).train(training)
        selector.learning = learning
        found = play(selector, batch)
        assert found.levels.shape == found.weights.shape == (batch, levels)
        assert found.levels.any(-1).all()
        torch.testing.assert_close(found.weights.sum(-1), torch.ones(batch))
        costs = torch.tensor(selector.space.costs)
        assert ((found.levels * costs).sum(-1) <= 2).all()

    def test_learns_once_enough_was_played(self, make, play, variant):
        selector = make(variant)
        before = weights(selector)
        play(selector, batch=6)
        assert selector.learn() is None
        play(selector, batch=2)  # batches need not be of one size
        found = selector.learn()
        assert found.skipped_steps == found.dropped_episodes == 0
        assert weights(selector).isfinite().all()
        assert not weights(selector).equal(before)
        assert len(selector.storage) == 0

    def test_without_learning_one_episode_is_played_and_none_kept(
            self, make, start, watched, make_signals, variant):
        selector = make(variant)
        for training, learning in ((False, True), (True, False)):
            selector.train(training).learning = learning
            losses = watched(5)
            choice = selector.select(
                start(selector, torch.randn(5, 5), losses))
            selector.observe(make_signals(losses.losses), choice)
            assert len(selector.storage) == 0
            assert losses.asked_for_all == 0
            assert [len(asked) for asked in losses.asked] == (
                [5] * (selector.horizon - 1))

    def test_stored_probabilities_are_those_of_the_learner(
            self, make, play, variant):
        selector = make(variant)
        if selector.learner.needs == 'gains':
            pytest.skip('no episode is stored')
        play(selector)
        rollout = stored(selector)
        again, values = selector.policy.evaluate(rollout.observation)
        assert again.log_prob(rollout.action).equal(rollout.log_prob)
        assert values.equal(rollout.value)

    def test_a_broken_image_breaks_neither_selection_nor_policy(
            self, make, start, make_signals, variant):
        selector = make(variant, rollout_batches=1)
        features = torch.randn(6, 5)
        features[2] = math.nan
        choice = selector.select(start(selector, features))
        assert choice.selection.levels.any(-1).all()
        losses = torch.rand(6, 4)
        losses[4] = math.inf
        selector.observe(make_signals(losses), choice)
        found = selector.learn()
        assert found.dropped_episodes == 2 * selector.learner.group_size
        assert weights(selector).isfinite().all()

    def test_resumes_bit_for_bit(self, make, play, variant):
        """Stopped between updates, with a batch already stored."""
        selector = make(variant)
        for _ in range(3):
            play(selector)
            selector.learn()
        file = io.BytesIO()
        torch.save((selector.run_state(), selector.local_run_state(),
                    torch.get_rng_state()), file)
        file.seek(0)
        shared, local, rng = torch.load(file, weights_only=True)

        def go_on(selector):
            levels = [play(selector).levels]
            log = selector.learn()
            return [*levels, play(selector).levels], log

        expected, log = go_on(selector)
        resumed = make(variant)
        resumed.load_run_state(shared)
        resumed.load_local_run_state(local)
        torch.set_rng_state(rng)
        found, resumed_log = go_on(resumed)
        assert weights(resumed).equal(weights(selector))
        assert all(a.equal(b) for a, b in zip(expected, found, strict=True))
        for field in fields(log):
            assert getattr(log, field.name).equal(
                getattr(resumed_log, field.name))


# -- several episodes of an image ----------------------------------------------


@pytest.mark.parametrize('variant', ['GRPO', 'GRPO without sequence'])
def test_a_group_is_of_one_image_and_the_first_is_distilled(
        make, start, watched, make_signals, variant):
    selector = make(variant)
    losses, features = watched(40), torch.randn(40, 5)
    choice = selector.select(start(selector, features, losses))
    selection = choice.selection
    # All levels were computed once, none with gradient.
    assert losses.asked_for_all == 1
    assert losses.asked == []

    selector.observe(make_signals(losses.losses), choice)
    rollout = stored(selector)
    steps = selector.horizon
    assert rollout.action.shape == rollout.reward.shape == (steps, 120)
    assert rollout.observation.action_mask.shape == (steps, 120, 16)
    assert rollout.observation.global_feature.equal(
        features.repeat_interleave(3, 0).expand(steps, 120, 5))
    last = chosen(rollout.action[-1]).view(40, 3, 4)
    assert selection.levels.equal(last[:, 0])
    assert not last[:, 0].equal(last[:, 1])  # they are played on their own
    # What the policy saw of the losses is what distilling would have shown.
    held = chosen(rollout.action[:-1])
    seen = (held * losses.losses.repeat_interleave(3, 0)).sum(-1)
    torch.testing.assert_close(
        rollout.observation.loss[1:], seen / held.sum(-1).clamp(min=1))


@pytest.mark.parametrize('reward', [
    'AlignmentReward', 'LookaheadReward', 'PaperLiteralReward',
    'ResidualReward'])
@pytest.mark.parametrize('efficiency', [0., 0.5, 2.])
@pytest.mark.parametrize('variant', [
    'PPO', 'without sequence', 'GRPO', 'GRPO without sequence'])
def test_a_step_is_rewarded_by_the_difference_it_makes(
        make, start, make_signals, variant, efficiency, reward):
    """In gains − λ · share of the cost; every episode of a group for itself."""
    selector = make(variant, reward=dict(
        type=f'mmrlkd.{reward}', efficiency=efficiency))
    losses = torch.rand(7, 4) + 0.1
    scalars = selector.observe(
        make_signals(losses),
        selector.select(start(selector, torch.randn(7, 5))))
    rollout = stored(selector)
    nothing = torch.zeros_like(rollout.action[:1])
    path = torch.cat([nothing, rollout.action])
    gains = selector.reward.gains(make_signals(losses))
    shares = subset_table(4, gains.device).float() @ COSTS / COSTS.sum()
    worth = (gains - efficiency * shares).repeat_interleave(
        selector.learner.group_size, 0)
    held = torch.stack([worth.gather(1, step[:, None])[:, 0] for step in path])
    torch.testing.assert_close(rollout.reward, held.diff(dim=0))
    # What nothing adds to earns nothing: rewards sum to that of the end.
    torch.testing.assert_close(rollout.reward.sum(0), held[-1])
    assert (rollout.reward[path.diff(dim=0) == 0] == 0).all()
    torch.testing.assert_close(
        scalars['reward'], rollout.reward.sum(0).mean())


def test_steps_by_hand(make, make_signals):
    """All levels of an image whose losses are 1.5 times the mean, λ = 0.5:
    P5 first, then P4 and P3, nothing, P2."""
    selector = make(reward=dict(type='mmrlkd.ResidualReward', efficiency=.5))
    signals = make_signals(torch.tensor([[1., 2., 3., 4.], [3., 6., 9., 12.]]))
    selector.reward.gains(signals, update=True)
    worth = selector.reward.gains(signals) - 0.5 * selector._cost_shares
    actions = torch.tensor([[8], [14], [14], [15]]).expand(-1, 2)
    torch.testing.assert_close(selector._rewards(actions, worth)[:, 1],
        torch.tensor([12 / 20, 15 / 20, 0., 3 / 20])
        - 0.5 * torch.tensor([.5, 3., 0., 4.]) / 7.5)


def test_images_of_several_batches_keep_their_groups(make, play):
    selector = make('GRPO', rollout_batches=2)
    for batch in (2, 5):
        play(selector, batch)
    features = stored(selector).observation.global_feature[0]
    assert features.equal(features[::3].repeat_interleave(3, 0))
    assert len(features.unique(dim=0)) == 7


# -- greedily ------------------------------------------------------------------


def test_greedy_samples_only_to_learn(make, start):
    """It takes the likeliest levels wherever nothing is learnt from them."""
    features = torch.randn(50, 5)

    def levels(selector, training, learning):
        selector.train(training).learning = learning
        return selector.select(start(selector, features)).selection.levels

    selector = make('greedy')
    likeliest = levels(selector, training=False, learning=True)
    assert levels(selector, training=True, learning=False).equal(likeliest)
    assert not levels(selector, training=True, learning=True).equal(likeliest)
    selector.greedy = False
    assert not levels(selector, training=True, learning=False).equal(likeliest)


def test_without_lookahead_later_rewards_do_not_count(make, play):
    """γ = 0: the advantage of a step is its own reward minus its value."""
    selector = make('greedy')
    play(selector)
    rollout = stored(selector)
    loss = selector.learner.algorithm
    torch.testing.assert_close(
        generalized_advantages(rollout.reward, rollout.value,
                               loss.gamma, loss.gae_lambda),
        rollout.reward - rollout.value)


def test_without_efficiency_only_quality_counts(make, play):
    selector = make('without efficiency')
    losses = torch.rand(6, 4)
    levels = play(selector, losses=losses).levels
    torch.testing.assert_close(
        stored(selector).reward.sum(0),
        losses.where(levels, 0.).sum(-1) / losses.sum(-1).mean())
