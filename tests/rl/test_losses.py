"""Losses as pure functions: of nothing but their arguments, twice
differentiable in the policy's weights."""

import pytest
import torch

from mmrlkd.registry import POLICIES
from mmrlkd.rl import (
    FunctionalPolicy,
    GRPOLoss,
    PPOLoss,
    REINFORCELoss,
    set_aside_broken,
)
from mmrlkd.structures import LevelSpace

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (2, 2, 2, 2), 8, (4., 8., 16., 32.))
LOSSES = {
    'PPO': PPOLoss(),
    'GRPO': GRPOLoss(kl_coef=0.5),
    'REINFORCE': REINFORCELoss(0.1, 0.9, torch.zeros(())),
}
NETWORKS = {
    'LSTMPolicy': dict(hidden=4, global_dim=8, level_dim=2),
    'MLPPolicy': dict(hidden=4, global_dim=8, level_dim=2),
    'TokenPolicy': dict(hidden=4, width=2, layers=1),
}


@pytest.fixture(params=LOSSES)
def algorithm(request):
    return LOSSES[request.param]


@pytest.fixture
def build():

    def build(name='LSTMPolicy'):
        policy = POLICIES.build(dict(type=f'mmrlkd.{name}', **NETWORKS[name]))
        policy.bind(SPACE, 2)
        return policy.double()

    return build


@pytest.fixture
def episodes(make_rollout):
    """A prepared batch of a policy that has moved since it acted."""

    def make(algorithm, policy):
        rollout = make_rollout(policy, 8, 2)
        rollout = rollout.apply(
            lambda each: each.double() if each.is_floating_point() else each)
        batch, _ = algorithm.minibatch(
            algorithm.prepare(policy, *set_aside_broken(rollout)))
        with torch.no_grad():
            for weight in policy.parameters():
                weight += 0.05 * torch.randn_like(weight)
        return batch

    return make


def flat(tensors):
    return torch.cat([each.flatten() for each in tensors])


def test_a_loss_changes_nothing_and_repeats_itself(algorithm, build, episodes):
    policy = build()
    batch = episodes(algorithm, policy)
    before, rng = flat(policy.parameters()).clone(), torch.get_rng_state()
    kept = batch.clone()
    one, stats = algorithm.loss(policy, batch)
    two, _ = algorithm.loss(policy, batch)
    assert one.equal(two) and one.requires_grad
    assert not any(value.requires_grad for value in stats.values())
    assert flat(policy.parameters()).equal(before)
    assert all(weight.grad is None for weight in policy.parameters())
    assert torch.get_rng_state().equal(rng)
    assert (batch == kept).all()


def test_functional_weights_give_the_loss_and_gradient_of_own_weights(
        algorithm, build, episodes):
    policy = build()
    batch = episodes(algorithm, policy)
    own = dict(policy.named_parameters())
    copies = {name: weight.detach().clone().requires_grad_()
              for name, weight in own.items()}
    loss, _ = algorithm.loss(policy, batch)
    other, _ = algorithm.loss(FunctionalPolicy(policy, copies), batch)
    assert other.equal(loss)
    expected = torch.autograd.grad(
        loss, list(own.values()), allow_unused=True, materialize_grads=True)
    found = torch.autograd.grad(
        other, list(copies.values()), allow_unused=True,
        materialize_grads=True)
    assert flat(found).equal(flat(expected))


@pytest.mark.parametrize('name', NETWORKS)
def test_second_derivatives_equal_finite_differences(
        algorithm, build, episodes, name):
    """The directional derivative of the gradient, that is H v."""
    policy = build(name)
    batch = episodes(algorithm, policy)
    weights = {key: weight.detach().clone().requires_grad_()
               for key, weight in policy.named_parameters()}
    direction = {key: torch.randn_like(weight)
                 for key, weight in weights.items()}

    def gradient(at, **kwargs):
        loss, _ = algorithm.loss(FunctionalPolicy(policy, at), batch)
        return torch.autograd.grad(
            loss, list(at.values()), allow_unused=True,
            materialize_grads=True, **kwargs)

    first = gradient(weights, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(
        first, direction.values(), strict=True))
    found = flat(torch.autograd.grad(
        along, list(weights.values()), allow_unused=True,
        materialize_grads=True))

    step = 1e-6
    ahead, behind = (flat(gradient({
        key: (weight.detach() + sign * step * direction[key]).requires_grad_()
        for key, weight in weights.items()})) for sign in (1, -1))
    expected = (ahead - behind) / (2 * step)
    assert expected.norm() > 1e-3  # the case is not a trivial one
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_gradient_through_an_inner_step_equals_finite_differences(
        algorithm, build, episodes):
    """MAML's: d L(θ − α ∇L(θ)) / dθ along a direction."""
    policy = build()
    batch = episodes(algorithm, policy)
    weights = {key: weight.detach().clone().requires_grad_()
               for key, weight in policy.named_parameters()}
    direction = {key: torch.randn_like(weight)
                 for key, weight in weights.items()}

    def adapted_loss(at):
        loss, _ = algorithm.loss(FunctionalPolicy(policy, at), batch)
        gradients = torch.autograd.grad(
            loss, list(at.values()), create_graph=True, allow_unused=True,
            materialize_grads=True)
        adapted = {key: weight - 0.1 * gradient for (key, weight), gradient
                   in zip(at.items(), gradients, strict=True)}
        return algorithm.loss(FunctionalPolicy(policy, adapted), batch)[0]

    gradients = torch.autograd.grad(
        adapted_loss(weights), list(weights.values()), allow_unused=True,
        materialize_grads=True)
    found = sum((g * v).sum() for g, v in zip(
        gradients, direction.values(), strict=True))
    step = 1e-6
    ahead, behind = (adapted_loss({
        key: (weight.detach() + sign * step * direction[key]).requires_grad_()
        for key, weight in weights.items()}) for sign in (1, -1))
    torch.testing.assert_close(
        found, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6)


def test_the_trainer_descends_the_loss_it_was_given(
        algorithm, build, episodes, make_rollout, build_learner):
    policy = build()
    rollout = make_rollout(policy, 8, 2)
    rollout = rollout.apply(
        lambda each: each.double() if each.is_floating_point() else each)
    batch, _ = algorithm.minibatch(
        algorithm.prepare(policy, *set_aside_broken(rollout)))
    loss, stats = algorithm.loss(policy, batch)
    gradients = torch.autograd.grad(
        loss, list(policy.parameters()), allow_unused=True,
        materialize_grads=True)
    name = type(algorithm).__name__.removesuffix('Loss')
    once = {} if name == 'REINFORCE' else dict(epochs=1, minibatches=1)
    learner = build_learner(name, policy, max_grad_norm=1e9, **once)
    learner.algorithm = algorithm
    found = learner.update(rollout)
    for key, value in stats.items():
        torch.testing.assert_close(
            getattr(found, key), value, check_dtype=False)
    torch.testing.assert_close(flat([
        torch.zeros_like(weight) if weight.grad is None else weight.grad
        for weight in policy.parameters()]), flat(gradients))
