"""The exact learner against enumeration, sampling and the soft optimum."""

import copy
import math

import pytest
import torch

from mmrlkd.distillation.selection.environment import SubsetTree
from mmrlkd.rl import (
    ExpectedRewardBatch,
    ExpectedRewardLoss,
    FunctionalPolicy,
    outcome_probabilities,
    policy_gradient,
    subset_table,
)
from mmrlkd.structures import LevelSpace

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (2, 2, 2, 2), 8)


@pytest.fixture
def prepare(make_states):

    def prepare(images, horizon, dtype=torch.float64):
        """A batch of made-up images, all in double precision."""
        known = make_states(torch.randn(1, images, 8))[0].replace(
            level_losses=torch.rand(images, 4))
        known = known.apply(lambda each: each.to(dtype)
                            if each.is_floating_point() else each)
        tree = SubsetTree(SPACE, horizon)
        outcomes = len(tree.outcomes)
        nodes = [each._replace(observation=each.observation.apply(
            lambda one: one.to(dtype) if one.is_floating_point() else one))
            for each in tree.nodes(known)]
        return tree, ExpectedRewardBatch(
            nodes=nodes, reward=torch.randn(images, outcomes, dtype=dtype),
            cost=torch.rand(outcomes, dtype=dtype),
            unit=torch.tensor(2., dtype=dtype),
            share=torch.full((images, ), 1 / images, dtype=dtype))

    return prepare


@pytest.fixture
def double_policy(build_policy):

    def build(horizon, name='LSTMPolicy'):
        policy = build_policy(name, horizon).double()
        for parameter in policy.heads.action.parameters():
            parameter.data *= 30  # a fresh policy hardly prefers anything
        return policy

    return build


def path_to(tree, outcome):
    """Node and action at each step, from the last one's parents."""
    nodes = []
    for parents, held in zip(reversed(tree._parents), reversed(tree.held[1:])):
        nodes.append((int(parents[outcome]), int(held[outcome])))
        outcome = int(parents[outcome])
    return nodes[::-1]


@pytest.mark.parametrize('name', ['LSTMPolicy', 'MLPPolicy'])
@pytest.mark.parametrize('horizon', [1, 2, 4, 6])
def test_probabilities_are_those_of_the_paths(
        double_policy, prepare, horizon, name):
    """Each outcome's, from the steps of its path by ``policy.evaluate``."""
    policy = double_policy(horizon, name)
    tree, batch = prepare(3, horizon)
    with torch.no_grad():
        probability, entropies = outcome_probabilities(policy, batch.nodes)
        expected = []
        for outcome in range(len(tree.outcomes)):
            path = path_to(tree, outcome)
            seen = torch.stack([
                step.observation[:, node] for step, (node, _) in zip(
                    batch.nodes, path, strict=True)])
            choice, _ = policy.evaluate(seen)
            actions = torch.tensor([action for _, action in path])
            expected.append(choice.log_prob(
                actions[:, None].expand(horizon, 3)).sum(0).exp())
    expected = torch.stack(expected, 1)
    torch.testing.assert_close(probability, expected)
    torch.testing.assert_close(
        probability.sum(-1), torch.ones(3, dtype=torch.float64))
    # The chain rule: the steps' entropies sum to that of the outcome.
    torch.testing.assert_close(
        entropies.sum(0), -(expected * expected.log()).sum(-1))


@pytest.mark.parametrize('horizon', [1, 4])
def test_loss_and_gradient_are_the_enumerated_ones(
        double_policy, prepare, horizon):
    policy = double_policy(horizon)
    tree, batch = prepare(5, horizon)
    loss, stats = ExpectedRewardLoss(0.3).loss(policy, batch)
    found = torch.autograd.grad(loss, [*policy.heads.action.parameters()])

    probability, entropy = [], 0.
    for outcome in range(len(tree.outcomes)):
        path = path_to(tree, outcome)
        seen = torch.stack([step.observation[:, node] for step, (node, _) in
                            zip(batch.nodes, path, strict=True)])
        actions = torch.tensor([action for _, action in path])
        choice, _ = policy.evaluate(seen)
        log_prob = choice.log_prob(actions[:, None].expand(horizon, 5)).sum(0)
        probability.append(log_prob.exp())
        entropy = entropy - log_prob.exp() * log_prob
    probability = torch.stack(probability, 1)
    reward = (probability * batch.reward).sum(-1)
    expected = -(reward / 2 + 0.3 * entropy).mean()
    torch.testing.assert_close(loss, expected)
    for one, two in zip(found, torch.autograd.grad(
            expected, [*policy.heads.action.parameters()])):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(stats['expected_reward'], reward.mean())
    torch.testing.assert_close(
        stats['regret'], (batch.reward.amax(-1) - reward).mean())
    torch.testing.assert_close(
        stats['expected_cost'], (probability @ batch.cost).mean())
    torch.testing.assert_close(stats['entropy'], entropy.mean() / horizon)


def test_reinforce_estimates_the_same_gradient(double_policy, prepare):
    """Its mean over many samples, within its standard errors."""
    policy = double_policy(1)
    tree, batch = prepare(1, 1)
    loss, _ = ExpectedRewardLoss(0.).loss(policy, batch)
    parameters = [*policy.heads.action[2].parameters()]
    exact = torch.cat([each.flatten() for each in torch.autograd.grad(
        loss, parameters)])
    seen = batch.nodes[0].observation[:, 0]
    samples = []
    for _ in range(40):
        choice, _ = policy.evaluate(seen[None].expand(1, 500))
        action = choice.sample()
        share = torch.full(action.shape, 1 / 500, dtype=torch.float64)
        # Outcomes are the subsets 1 to 15.
        surrogate = policy_gradient(
            choice.log_prob(action), batch.reward[0, action - 1] / 2, share)
        samples.append(torch.cat([
            each.flatten() for each in torch.autograd.grad(
                surrogate, parameters)]))
    samples = torch.stack(samples)
    error = samples.std(0) / math.sqrt(len(samples)) + 1e-12
    assert exact.abs().max() > 5 * error.max()  # there is a gradient to find
    assert ((samples.mean(0) - exact).abs() / error).max() < 5


@pytest.mark.parametrize('horizon', [1, 4])
def test_differentiable_twice_and_pure(double_policy, prepare, horizon):
    policy = double_policy(horizon)
    _, batch = prepare(2, horizon)
    before = copy.deepcopy(policy.state_dict())
    algorithm = ExpectedRewardLoss(0.1)
    weights = dict(policy.named_parameters())
    loss, _ = algorithm.loss(policy, batch)
    gradients = torch.autograd.grad(
        loss, list(weights.values()), create_graph=True, allow_unused=True)
    adapted = {name: weight - 0.1 * gradient for (name, weight), gradient in
               zip(weights.items(), gradients) if gradient is not None}
    outer, _ = algorithm.loss(FunctionalPolicy(policy, adapted), batch)
    second = torch.autograd.grad(outer, weights['heads.action.2.weight'])[0]
    assert second.isfinite().all() and second.abs().max() > 0
    assert all(before[key].equal(value)
               for key, value in policy.state_dict().items())


def test_the_optimum_is_soft(build_policy, build_learner, gains_of):
    """π ∝ exp(R / (u c_e)), u being the rewards' own unit: a scale of the
    rewards changes nothing."""
    # A sum over the levels, so that independent levels can be the optimum.
    gain = subset_table(4, torch.device('cpu'))[None, 1:].float() @ (
        torch.tensor([.5, -.2, .3, .1]))
    unit = gain.var(-1, correction=0).sqrt()
    for scale in (1e-4, 1., 1e4):
        policy = build_policy('MLPPolicy', 1)
        learner = build_learner(
            'ExpectedReward', policy, lr=1e-2, entropy_coef=2.,
            batch_size=None, replay=1, steps=300)
        learner.update(gains_of(torch.zeros(1, 8), gain * scale))
        with torch.no_grad():
            probability, _ = outcome_probabilities(policy, learner._tree.nodes(
                gains_of(torch.zeros(1, 8), gain).known))
        torch.testing.assert_close(
            probability, torch.softmax(gain / unit / 2, -1), rtol=0, atol=2e-3)


def test_what_was_kept_is_learned_from_again(
        build_policy, build_learner, gains_of):
    """An update on nothing new to say still follows the samples it kept; a
    ring of one batch forgets them."""
    features = torch.randn(32, 8)
    teaching = torch.zeros(32, 15)
    teaching[:, 5] = 1.
    for replay, learned in ((2, True), (1, False)):
        policy = build_policy('MLPPolicy', 1)
        learner = build_learner('ExpectedReward', policy, replay=replay,
                                entropy_coef=0., steps=1)
        learner.update(gains_of(features, teaching))
        before = copy.deepcopy(policy.heads.action.state_dict())
        state = learner.optimizer.state_dict()['state']
        assert state
        learner.optimizer.state.clear()  # no momentum
        learner.update(gains_of(features, torch.zeros(32, 15)))
        moved = any(not before[key].equal(value) for key, value in
                    policy.heads.action.state_dict().items())
        assert moved == learned


def test_a_learner_of_gains_needs_a_tree(build_policy):
    from mmrlkd.rl import ExpectedReward
    with pytest.raises(ValueError, match=r'accepted: bind\(policy, tree'):
        ExpectedReward().bind(build_policy())


@pytest.mark.parametrize(('key', 'value'), [
    ('steps', 0), ('batch_size', 0), ('replay', 0), ('entropy_coef', -1.)])
def test_impossible_settings_are_errors(
        build_policy, build_learner, key, value):
    with pytest.raises(ValueError, match=f'ExpectedReward: {key}={value}'):
        build_learner('ExpectedReward', build_policy(), **{key: value})


def test_the_regret_falls(build_policy, build_learner, gains_of):
    policy = build_policy('MLPPolicy', 1)
    learner = build_learner('ExpectedReward', policy, lr=3e-3)
    logs = [learner.update(gains_of(features := torch.randn(64, 8),
                                    features @ torch.eye(8, 15)))
            for _ in range(20)]
    assert logs[-1].regret < 0.5 * logs[0].regret
    assert all(log.dropped_episodes == log.skipped_steps == 0 for log in logs)
