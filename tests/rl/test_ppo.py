"""PPO's update against its definition, torchrl, and what it promises."""

import math

import pytest
import torch

from mmrlkd.rl import generalized_advantages

#: One gradient step on everything; the diagnostics are of that step.
ONCE = dict(epochs=1, minibatches=1)


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def gradients(policy):
    return torch.cat([p.grad.flatten() for p in policy.parameters()])


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
def test_ratio_is_exactly_1_at_first(build_policy, make_rollout, name):
    policy = build_policy(name)
    rollout = make_rollout(policy)
    choice, _ = policy.evaluate(rollout.observation)
    ratio = (choice.log_prob(rollout.action) - rollout.log_prob).exp()
    assert (ratio == 1).all()


@pytest.mark.parametrize('name', ['LSTMPolicy', 'MLPPolicy'])
def test_first_step_neither_clips_nor_diverges(
        build_policy, build_ppo, make_rollout, name):
    policy = build_policy(name)
    rollout = make_rollout(policy)
    found = build_ppo(policy, **ONCE).update(rollout)
    assert found.clip_fraction == 0
    assert found.approx_kl.abs() < 1e-6
    # Normalised advantages sum to nothing, and so does the surrogate.
    assert found.policy_loss.abs() < 1e-5


def reference(policy, rollout, clip=0.2, gamma=0.99, lam=0.95):
    """Loss terms by a second way: dense softmax over the feasible subsets."""
    advantages = generalized_advantages(
        rollout.reward, rollout.value, gamma, lam)
    returns = advantages + rollout.value
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    choice, values = policy.evaluate(rollout.observation)
    logits = choice.logits
    bits = (torch.arange(16)[:, None] >> torch.arange(4)) & 1
    weight = (logits @ bits.T.float()).exp() * rollout.observation.action_mask
    probs = weight / weight.sum(-1, keepdim=True)
    taken = probs.gather(-1, rollout.action[..., None])[..., 0]
    ratio = taken / rollout.log_prob.exp()
    worst = torch.where(
        advantages > 0, ratio.clamp(max=1 + clip) * advantages,
        ratio.clamp(min=1 - clip) * advantages)
    entropy = -(probs * probs.clamp(min=1e-30).log()).sum(-1)
    return dict(
        policy_loss=-worst.mean(),
        value_loss=(values - returns).square().mean(),
        entropy=entropy.mean(),
        clip_fraction=((ratio - 1).abs() > clip).float().mean(),
        approx_kl=(ratio - 1 - ratio.log()).mean(),
        explained_variance=1 - within_steps(
            returns - rollout.value) / within_steps(returns))


def within_steps(numbers):
    """Sum over the steps of the episodes' variance, (T, B)."""
    return numbers.var(1, correction=0).sum()


@pytest.mark.parametrize('knows, explained', [('step', 0.), ('return', 1.)])
def test_a_critic_that_knows_the_step_alone_explains_nothing(
        off_policy, build_ppo, knows, explained):
    """Returns that fall by 5 a step, whatever the image, and by a little with it."""
    policy, rollout = off_policy
    steps, episodes = rollout.reward.shape
    reward = 5 + 0.1 * torch.randn(steps, episodes)
    returns = reward.flip(0).cumsum(0).flip(0)
    value = returns if knows == 'return' else (
        returns.mean(1, keepdim=True).expand_as(returns))
    found = build_ppo(policy, gamma=1., gae_lambda=1., **ONCE).update(
        rollout.replace(reward=reward, value=value))
    assert found.explained_variance == pytest.approx(explained, abs=1e-3)


def test_loss_terms_equal_their_definition(off_policy, build_ppo):
    policy, rollout = off_policy
    expected = reference(policy, rollout)
    found = build_ppo(policy, **ONCE).update(rollout)
    assert expected['clip_fraction'] > 0.05  # the case is not a trivial one
    for name, value in expected.items():
        torch.testing.assert_close(
            getattr(found, name), value.detach(), rtol=1e-4, atol=1e-6)


def test_gradient_equals_that_of_the_definition(off_policy, build_ppo, twin):
    policy, rollout = off_policy
    other = twin(policy)
    terms = reference(other, rollout)
    (terms['policy_loss'] + 0.5 * terms['value_loss'] -
     0.01 * terms['entropy']).backward()
    build_ppo(policy, max_grad_norm=1e9, **ONCE).update(rollout)
    torch.testing.assert_close(
        gradients(policy), gradients(other), rtol=1e-4, atol=1e-6)


def test_loss_and_gradient_equal_torchrl(off_policy, build_ppo, twin):
    objectives = pytest.importorskip('torchrl.objectives')
    from tensordict import TensorDict
    from tensordict.nn import (
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
    )

    policy, rollout = off_policy
    other = twin(policy)
    choice, values = other.evaluate(rollout.observation)
    scores = choice.logits
    bits = (torch.arange(16)[:, None] >> torch.arange(4)) & 1
    scores = (scores @ bits.T.float()).masked_fill(
        ~rollout.observation.action_mask, -torch.inf)
    # torchrl's networks hand on what our policy computed.
    actor = ProbabilisticTensorDictSequential(
        TensorDictModule(torch.nn.Identity(), ['scores'], ['logits']),
        ProbabilisticTensorDictModule(
            ['logits'], ['action'],
            distribution_class=torch.distributions.Categorical,
            distribution_kwargs=dict(validate_args=False)))
    critic = TensorDictModule(
        torch.nn.Identity(), ['estimates'], ['state_value'])
    oracle = objectives.ClipPPOLoss(
        actor, critic, clip_epsilon=0.2, entropy_coeff=0.01,
        critic_coeff=0.5, loss_critic_type='l2', normalize_advantage=False,
        entropy_bonus=True, samples_mc_entropy=1, clip_value=None)
    advantages = generalized_advantages(
        rollout.reward, rollout.value, 0.99, 0.95)
    normalised = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    losses = oracle(TensorDict(dict(
        scores=scores, estimates=values[..., None], action=rollout.action,
        action_log_prob=rollout.log_prob, advantage=normalised[..., None],
        value_target=(advantages + rollout.value)[..., None],
    ), batch_size=rollout.action.shape))

    found = build_ppo(policy, max_grad_norm=1e9, **ONCE).update(rollout)
    for name, value in (('loss_objective', found.policy_loss),
                        ('loss_critic', 0.5 * found.value_loss),
                        ('loss_entropy', -0.01 * found.entropy)):
        torch.testing.assert_close(
            value, losses[name].detach(), rtol=0, atol=1e-6)
    (losses['loss_objective'] + losses['loss_critic'] +
     losses['loss_entropy']).backward()
    torch.testing.assert_close(
        gradients(policy), gradients(other), rtol=1e-4, atol=1e-6)


def test_kl_estimate_is_never_negative(build_policy, build_ppo, make_rollout):
    policy = build_policy()
    learner = build_ppo(policy, lr=1e-2)
    for _ in range(3):
        assert learner.update(make_rollout(policy)).approx_kl >= 0


def test_one_element_is_not_normalised(build_policy, build_ppo, make_rollout):
    """Normalised, the only advantage would be 0 and teach nothing."""
    policy = build_policy(horizon=1)
    rollout = make_rollout(policy, episodes=1, horizon=1)
    found = build_ppo(policy, **ONCE).update(rollout)
    advantage = rollout.reward - rollout.value
    torch.testing.assert_close(found.policy_loss, -advantage.squeeze())


def test_single_feasible_subsets_teach_the_actor_nothing(
        build_policy, build_ppo, act):
    policy = build_policy()
    feasible = torch.zeros(4, 6, 16, dtype=torch.bool)
    feasible[..., 8] = True
    rollout = act(policy, torch.randn(4, 6, 8), feasible,
                  lambda actions: torch.randn(actions.shape))
    found = build_ppo(policy, value_coef=0., **ONCE).update(rollout)
    assert found.entropy == 0
    assert (gradients(policy) == 0).all()


@pytest.mark.parametrize('episodes', [1, 3, 5])
def test_few_episodes_make_fewer_minibatches(
        build_policy, build_ppo, make_rollout, episodes):
    policy = build_policy()
    before = weights(policy)
    found = build_ppo(policy).update(make_rollout(policy, episodes))
    assert found.skipped_steps == 0
    assert not weights(policy).equal(before)


# -- broken episodes and gradients --------------------------------------------


@pytest.mark.parametrize('field', ['reward', 'value', 'loss'])
@pytest.mark.parametrize('number', [math.nan, math.inf])
def test_broken_episodes_change_nothing(
        build_policy, build_ppo, make_rollout, twin, pick, field, number):
    """The update is the one without them."""
    policy = build_policy()
    other = twin(policy)
    rollout = make_rollout(policy, episodes=9)
    clean = pick(rollout, torch.tensor([0, 1, 2, 3, 5, 6, 8]))
    holder = rollout.observation if field == 'loss' else rollout
    getattr(holder, field)[1, 4] = number
    getattr(holder, field)[3, 7] = number

    settings = dict(epochs=3, minibatches=1)
    found = build_ppo(policy, **settings).update(rollout)
    expected = build_ppo(other, **settings).update(clean)
    torch.testing.assert_close(
        weights(policy), weights(other), rtol=1e-4, atol=1e-6)
    assert found.dropped_episodes == 2
    assert expected.dropped_episodes == 0
    for name in ('policy_loss', 'value_loss', 'entropy', 'explained_variance'):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-3,
            atol=1e-5)


def test_a_non_finite_gradient_is_skipped(build_policy, build_ppo, make_rollout):
    policy = build_policy()
    rollout = make_rollout(policy)
    # Finite itself, its square is not.
    rollout = rollout.rewarded(torch.full_like(rollout.reward, 1e30))
    before = weights(policy)
    found = build_ppo(policy, minibatches=2).update(rollout)
    assert found.skipped_steps == 8
    assert found.dropped_episodes == 0
    assert weights(policy).equal(before)


@pytest.mark.parametrize(('key', 'value'), [
    ('lr', 0), ('clip', -0.2), ('max_grad_norm', 0), ('value_coef', -1),
    ('entropy_coef', -0.01), ('gamma', 1.01), ('gae_lambda', -0.1),
    ('epochs', 0), ('minibatches', 0), ('target_kl', 0)])
def test_impossible_settings_are_errors(build_policy, build_ppo, key, value):
    with pytest.raises(ValueError, match=f'PPO: {key}={value}; accepted'):
        build_ppo(build_policy(), **{key: value})


@pytest.mark.parametrize('rounding', [0., 1e-7])
@pytest.mark.parametrize('critic', ['exact', 'off'])
def test_equal_rewards_leave_the_policy_as_it_is(
        build_policy, build_ppo, make_rollout, critic, rounding):
    policy = build_policy()
    rollout = make_rollout(policy, episodes=20)
    rewards = torch.full_like(rollout.reward, 0.3)
    rewards += rounding * torch.rand_like(rewards).sub(.5)
    values = rollout.value
    if critic == 'exact':
        values = generalized_advantages(
            rewards, torch.zeros_like(rewards), 0.99, 1.)
    rollout = rollout.replace(reward=rewards, value=values)
    before = weights(policy)
    found = build_ppo(policy, value_coef=0., entropy_coef=0.).update(rollout)
    assert found.policy_loss == 0
    assert torch.equal(weights(policy), before)


def test_advantages_of_rounding_alone_leave_the_policy_as_it_is(
        build_policy, build_ppo, make_rollout):
    """Rewards differ, and the critic foresaw each."""
    policy = build_policy()
    rollout = make_rollout(policy, episodes=20)
    values = generalized_advantages(
        rollout.reward, torch.zeros_like(rollout.reward), 0.99, 1.)
    rollout = rollout.replace(value=values)
    before = weights(policy)
    build_ppo(policy, value_coef=0., entropy_coef=0.).update(rollout)
    assert torch.equal(weights(policy), before)


def test_small_true_differences_of_reward_are_learnt_from(
        build_policy, build_ppo, make_rollout):
    policy = build_policy()
    rollout = make_rollout(policy, episodes=20)
    rewards = 0.3 + 1e-4 * rollout.reward
    values = torch.zeros_like(rewards)
    rollout = rollout.replace(reward=rewards, value=values)
    before = weights(policy)
    build_ppo(policy, value_coef=0., entropy_coef=0.).update(rollout)
    assert not torch.equal(weights(policy), before)


def test_no_further_pass_once_the_policy_has_moved_far_enough(
        build_policy, build_ppo, make_rollout, twin):
    """The first pass moves it further than the target: one pass is made."""
    policy = build_policy()
    rollout = make_rollout(policy)
    once, stopped, four = twin(policy), twin(policy), twin(policy)
    settings = dict(lr=1e-2, minibatches=2)
    for each, epochs, target in ((once, 1, None), (stopped, 4, 1e-6),
                                 (four, 4, None)):
        torch.manual_seed(0)
        build_ppo(each, epochs=epochs, target_kl=target, **settings).update(
            rollout)
    assert weights(stopped).equal(weights(once))
    assert not weights(stopped).equal(weights(four))


def test_a_high_target_stops_nothing(
        build_policy, build_ppo, make_rollout, twin):
    policy = build_policy()
    rollout = make_rollout(policy)
    other = twin(policy)
    for each, target in ((policy, None), (other, 1e6)):
        torch.manual_seed(0)
        build_ppo(each, target_kl=target).update(rollout)
    assert weights(policy).equal(weights(other))
