"""GRPO's update against its definition, the exact gradient, and what it
promises."""

import itertools
import math

import pytest
import torch
from mmrlkd.decision import SubsetDistribution

from mmrlkd.structures import Rollout

#: One gradient step on everything; the diagnostics are of that step.
ONCE = dict(epochs=1, minibatches=1)


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def gradients(policy):
    """Of all but the critic, which has none."""
    return torch.cat([
        p.grad.flatten() for key, p in policy.named_parameters()
        if not key.startswith('heads.value')])


def dense(policy, rollout):
    """(T, B, 2^L) probabilities by a second way: softmax over the feasible."""
    logits, _ = policy.evaluate(rollout.states)
    bits = (torch.arange(16)[:, None] >> torch.arange(4)) & 1
    weight = (logits @ bits.T.float()).exp() * rollout.feasible
    return weight / weight.sum(-1, keepdim=True)


def divergence(new, old):
    """KL(new ‖ old) of dense probabilities, mean over all steps."""
    tiny = 1e-30
    return (new * ((new + tiny).log() - (old + tiny).log())).sum(-1).mean()


@pytest.fixture
def off_policy(build_policy, make_rollout):
    """A policy, and a rollout by one that has since moved a little."""
    policy = build_policy()
    rollout = make_rollout(policy, episodes=20)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return policy, rollout


@pytest.mark.parametrize('name', ['LSTMPolicy', 'MLPPolicy'])
def test_first_step_neither_clips_nor_diverges(
        build_policy, build_grpo, make_rollout, name):
    policy = build_policy(name)
    found = build_grpo(policy, **ONCE).update(make_rollout(policy))
    # The ratio is exactly 1, to the last bit of its logarithm.
    assert found.approx_kl == 0
    assert found.clip_fraction == 0
    assert found.kl.abs() < 1e-7
    assert found.policy_loss.abs() < 1e-6  # advantages sum to nothing
    assert found.zero_variance_groups == 0


def reference(policy, rollout, low=0.2, high=0.3):
    """Loss terms by definition, one group at a time."""
    advantages = torch.zeros_like(rollout.rewards)
    for first in range(0, rollout.rewards.shape[1], 4):
        total = rollout.rewards[:, first:first + 4].sum(0)
        advantages[:, first:first + 4] = (total - total.mean()) / (
            total.std() + 1e-4)
    probs = dense(policy, rollout)
    taken = probs.gather(-1, rollout.actions[..., None])[..., 0]
    ratio = taken / rollout.log_probs.exp()
    worst = torch.where(
        advantages > 0, ratio.clamp(max=1 + high) * advantages,
        ratio.clamp(min=1 - low) * advantages)
    outside = (ratio < 1 - low) | (ratio > 1 + high)
    return dict(
        policy_loss=-worst.mean(),
        entropy=-(probs * probs.clamp(min=1e-30).log()).sum(-1).mean(),
        clip_fraction=outside.float().mean(),
        approx_kl=(ratio - 1 - ratio.log()).mean())


def test_loss_terms_and_gradient_equal_their_definition(
        off_policy, build_grpo, twin):
    policy, rollout = off_policy
    other = twin(policy)
    expected = reference(other, rollout)
    expected['policy_loss'].backward()
    found = build_grpo(
        policy, eps_high=0.3, max_grad_norm=1e9, **ONCE).update(rollout)
    assert expected['clip_fraction'] > 0.05  # the case is not a trivial one
    for name, value in expected.items():
        torch.testing.assert_close(
            getattr(found, name), value.detach(), rtol=1e-4, atol=1e-6)
    # On the first pass the divergence is at its least: no gradient of it.
    torch.testing.assert_close(
        gradients(policy), gradients(other), rtol=1e-4, atol=1e-6)


def test_divergence_is_from_the_policy_that_acted(
        build_policy, build_grpo, make_rollout, twin):
    policy = build_policy()
    acted, once = twin(policy), twin(policy)
    rollout = make_rollout(policy)
    settings = dict(lr=1e-2, minibatches=1)
    build_grpo(once, epochs=1, **settings).update(rollout)
    expected = divergence(dense(once, rollout), dense(acted, rollout))
    assert expected > 1e-3
    # The mean of two passes, the first at 0.
    found = build_grpo(policy, epochs=2, **settings).update(rollout)
    torch.testing.assert_close(
        2 * found.kl, expected.detach(), rtol=1e-3, atol=1e-6)


def test_divergence_holds_the_policy_back(
        build_policy, build_grpo, make_rollout, twin):
    original = build_policy()
    rollout = make_rollout(original)
    moved = []
    for kl_coef in (0., 1., 100.):
        policy = twin(original)
        build_grpo(policy, lr=3e-3, kl_coef=kl_coef, epochs=8,
                   minibatches=1).update(rollout)
        moved.append(
            divergence(dense(policy, rollout), dense(original, rollout)))
    assert moved[0] > 1.2 * moved[1] > 1.2**2 * moved[2]


def test_the_critic_is_left_alone(build_policy, build_grpo, make_rollout):
    policy = build_policy()
    critic = [p.clone() for p in policy.heads.value.parameters()]
    build_grpo(policy).update(make_rollout(policy))
    for before, after in zip(critic, policy.heads.value.parameters()):
        assert before.equal(after)
        assert after.grad is None


def test_groups_stay_together_in_minibatches(
        build_policy, build_grpo, act, monkeypatch):
    policy = build_policy()
    features = torch.randn(4, 7, 8).repeat_interleave(3, 1)
    feasible = (torch.arange(16) > 0).expand(4, 21, 16)
    rollout = act(policy, features, feasible,
                  lambda actions: torch.randn(actions.shape))
    seen, evaluate = [], policy.evaluate
    monkeypatch.setattr(policy, 'evaluate', lambda states: (
        seen.append(states.global_feature[0]), evaluate(states))[1])
    build_grpo(policy, group_size=3, epochs=2, minibatches=4).update(rollout)
    whole, *batches = seen
    assert len(whole) == 21 and len(batches) == 8
    for batch in batches:
        assert batch.equal(batch[::3].repeat_interleave(3, 0))
    for epoch in batches[:4], batches[4:]:
        assert len(torch.cat(epoch).unique(dim=0)) == 7


# -- the gradient --------------------------------------------------------------

FEASIBLE = torch.zeros(16, dtype=torch.bool)
FEASIBLE[[1, 6, 12]] = True
PAYS = torch.zeros(16)
PAYS[[1, 6, 12]] = torch.tensor([0.3, -1., 2.])


@pytest.fixture
def bandit(build_policy, make_states):
    """A policy that prefers something, an image, and the exact gradient of
    Σ_a π(a|x) R(a)."""
    policy = build_policy(horizon=1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    image = torch.randn(1, 1, 8)
    logits, _ = policy.evaluate(make_states(image))
    choice = SubsetDistribution(logits[0, 0], FEASIBLE)
    (choice.probs @ PAYS).backward()
    exact = gradients(policy)
    assert choice.probs[FEASIBLE].min() > 0.05
    return policy, image, choice.probs.detach(), exact


@pytest.fixture
def play(make_states):
    """The given actions (N,) for one image, as the policy would have played
    them."""

    @torch.no_grad()
    def play(policy, image, actions):
        states = make_states(image.expand(1, len(actions), 8))
        feasible = FEASIBLE.expand(1, len(actions), 16)
        logits, values = policy.evaluate(states)
        log_probs = SubsetDistribution(logits, feasible).log_prob(
            actions[None])
        return Rollout(states, actions[None], feasible, log_probs, values,
                       PAYS[actions][None])

    return play


def ascent(policy, twin, build_grpo, rollout, **kwargs):
    """The direction in which one step on everything moves a copy."""
    other = twin(policy)
    build_grpo(other, max_grad_norm=1e9, **ONCE, **kwargs).update(rollout)
    return -gradients(other)


@pytest.mark.parametrize('size', [2, 3])
def test_mean_only_expects_the_exact_gradient_but_for_a_factor(
        bandit, play, build_grpo, twin, size):
    """E = (G − 1)/G · ∇J, summed over all 3^G groups there are."""
    policy, image, probs, exact = bandit
    expected = torch.zeros_like(exact)
    for group in itertools.product((1, 6, 12), repeat=size):
        actions = torch.tensor(group)
        expected += probs[actions].prod() * ascent(
            policy, twin, build_grpo, play(policy, image, actions),
            group_size=size, scale_by_std=False)
    torch.testing.assert_close(
        expected, (size - 1) / size * exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_approaches_the_exact_gradient(
        bandit, play, build_grpo, twin, seed):
    """A hundred times the groups, a tenth of the error."""
    policy, image, probs, exact = bandit
    torch.manual_seed(seed)
    errors = []
    for groups in (200, 20_000):
        actions = probs.multinomial(4 * groups, replacement=True)
        found = ascent(policy, twin, build_grpo, play(policy, image, actions),
                       group_size=4, scale_by_std=False)
        errors.append((found * 4 / 3 - exact).norm() / exact.norm())
    assert errors[0] < 0.3
    assert errors[1] < 0.03


def test_scaled_points_the_same_way(bandit, play, build_grpo, twin):
    """For one image the deviation is nearly a constant."""
    policy, image, probs, exact = bandit
    actions = probs.multinomial(80_000, replacement=True)
    found = ascent(policy, twin, build_grpo, play(policy, image, actions),
                   group_size=8)
    assert torch.cosine_similarity(found, exact, dim=0) > 0.95


# -- broken episodes and gradients ---------------------------------------------


@pytest.mark.parametrize('field', ['rewards', 'loss'])
def test_a_broken_episode_leaves_its_group_smaller(
        build_policy, build_grpo, make_rollout, twin, pick, field):
    """Groups of three with one broken are groups of two."""
    policy = build_policy()
    other = twin(policy)
    rollout = make_rollout(policy, episodes=9)
    clean = pick(rollout, torch.tensor([1, 2, 3, 5, 6, 7]))
    holder = rollout.states if field == 'loss' else rollout
    getattr(holder, field)[2, [0, 4, 8]] = math.nan
    settings = dict(epochs=3, minibatches=1)
    found = build_grpo(policy, group_size=3, **settings).update(rollout)
    expected = build_grpo(other, group_size=2, **settings).update(clean)
    torch.testing.assert_close(
        weights(policy), weights(other), rtol=1e-4, atol=1e-6)
    assert found.dropped_episodes == 3
    for name in ('policy_loss', 'kl', 'entropy', 'zero_variance_groups'):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-3,
            atol=1e-5)


def test_groups_that_taught_nothing_are_counted(
        build_policy, build_grpo, make_rollout):
    policy = build_policy()
    rollout = make_rollout(policy, episodes=20)
    rollout.rewards[:, 4:8] = 0.1  # all the same
    rollout.rewards[0, 8:11] = math.nan  # one is left
    found = build_grpo(policy).update(rollout)
    assert found.zero_variance_groups == pytest.approx(2 / 5)
    assert found.dropped_episodes == 3


def test_a_non_finite_gradient_is_skipped(
        build_policy, build_grpo, make_rollout):
    policy = build_policy()
    rollout = make_rollout(policy)
    rollout.rewards.mul_(1e30)  # finite itself, its square is not
    before = weights(policy)
    found = build_grpo(policy, scale_by_std=False, minibatches=2).update(
        rollout)
    assert found.skipped_steps == 8
    assert weights(policy).equal(before)


# -- errors --------------------------------------------------------------------


def test_half_a_group_is_an_error(build_policy, build_grpo, make_rollout):
    policy = build_policy()
    with pytest.raises(
            ValueError, match='group_size=4 does not divide the 6 episodes'):
        build_grpo(policy).update(make_rollout(policy, episodes=6))


@pytest.mark.parametrize(('key', 'value'), [
    ('group_size', 1), ('eps_low', 0), ('eps_high', -0.2), ('kl_coef', -1),
    ('eps', 0), ('epochs', 0), ('minibatches', 0)])
def test_impossible_settings_are_errors(build_policy, build_grpo, key, value):
    with pytest.raises(ValueError, match=f'GRPO: {key}={value} must be'):
        build_grpo(build_policy(), **{key: value})
