"""Meta-gradients on a recorded environment against finite differences and the
exact ones."""

import math

import pytest
import torch

from mmrlkd.distillation.selection.recorded import RecordedEnvironment
from mmrlkd.rl import FunctionalPolicy, Outcome, play
from mmrlkd.rl.meta import MAML, DiCE, ExactReward, Reptile


def flat(tensors):
    return torch.cat([each.flatten() for each in tensors])


def meta_gradient(learner, support, query):
    loss = learner.meta_loss(learner.adapted(support, learner.steps), query)
    return flat(torch.autograd.grad(
        loss, list(learner.policy.parameters()), allow_unused=True,
        materialize_grads=True))


@pytest.mark.parametrize('name', ['LSTMPolicy', 'MLPPolicy', 'TokenPolicy'])
@pytest.mark.parametrize('horizon', [1, 2])
def test_mamls_gradient_equals_finite_differences(
        recorded, small_policy, name, horizon):
    """Through five inner steps, along a direction; FOMAML's does not."""
    support, query = recorded(horizon=horizon), recorded(horizon=horizon)
    policy = small_policy(name, horizon)
    learner = MAML(policy, ExactReward(), lr=.5, shots=3)
    found = meta_gradient(learner, support, query)
    direction = torch.randn_like(found)
    start = torch.nn.utils.parameters_to_vector(policy.parameters()).detach()
    step, losses = 1e-6, []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(
            start + sign * step * direction, policy.parameters())
        losses.append(learner.meta_loss(
            learner.adapted(support, 5), query).item())
    torch.nn.utils.vector_to_parameters(start, policy.parameters())
    expected = (losses[0] - losses[1]) / (2 * step)
    along = (found @ direction).item()
    assert along == pytest.approx(expected, rel=1e-5)
    first_order = MAML(policy, ExactReward(), lr=.5, first_order=True)
    other = (meta_gradient(first_order, support, query) @ direction).item()
    assert abs(other - expected) > 1e-3 * abs(expected)


@pytest.mark.gpu
@pytest.mark.parametrize('name', ['LSTMPolicy', 'MLPPolicy', 'TokenPolicy'])
def test_a_gpu_gives_the_same_gradient(recorded, small_policy, name):
    """Also through an LSTM, whose fused kernels over time have no second
    derivatives."""
    support, query, policy = recorded(), recorded(), small_policy(name)
    expected = meta_gradient(
        MAML(policy, ExactReward(), lr=.5), support, query)
    support, query = (RecordedEnvironment(
        each.recording.cuda(), each.space, each.horizon, each.efficiency)
        for each in (support, query))
    found = meta_gradient(
        MAML(policy.cuda(), ExactReward(), lr=.5), support, query)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('learner', [MAML, Reptile])
def test_first_order_gradients(recorded, small_policy, learner):
    """Of what happens by hand: five steps of gradient descent."""
    support, query, policy = recorded(), recorded(), small_policy()
    options = dict(first_order=True) if learner is MAML else {}
    found = meta_gradient(
        learner(policy, ExactReward(), lr=.5, **options), support, query)
    weights = {name: weight.detach().clone().requires_grad_()
               for name, weight in policy.named_parameters()}

    def gradient(task):
        loss = -task.expected_reward(FunctionalPolicy(policy, weights)).mean()
        return torch.autograd.grad(
            loss, list(weights.values()), allow_unused=True,
            materialize_grads=True)

    for _ in range(5):
        step = gradient(support)
        with torch.no_grad():
            for weight, each in zip(weights.values(), step):
                weight -= .5 * each
    expected = flat(gradient(query)) if learner is MAML else flat(
        policy.parameters()) - flat(weights.values())
    torch.testing.assert_close(found, expected)


@pytest.fixture
def many():
    """Each of an environment's images many times."""

    def many(task, times):
        return task.take(torch.arange(task.batch_size).repeat(times))

    return many


def test_dice_is_minus_the_mean_return(recorded, small_policy):
    task, policy = recorded(), small_policy()
    torch.manual_seed(5)
    played = play(task, policy)
    torch.manual_seed(5)
    loss = DiCE()(policy, task)
    torch.testing.assert_close(loss, -played.reward.sum(0).mean())
    torch.manual_seed(5)
    discounted = DiCE(gamma=.5)(policy, task)
    torch.testing.assert_close(
        discounted, -(played.reward[0] + .5 * played.reward[1]).mean())


def test_dices_derivatives_are_those_of_the_expectation(
        recorded, small_policy, many):
    """The gradient and the Hessian times a vector, means over many samples,
    within their standard errors."""
    task, policy = recorded(images=2), small_policy()
    weights = [*policy.heads.action.parameters()]
    direction = [torch.randn_like(weight) for weight in weights]

    def derivatives(loss):
        first = torch.autograd.grad(loss, weights, create_graph=True)
        along = sum((g * v).sum() for g, v in zip(first, direction))
        second = torch.autograd.grad(along, weights)
        return torch.stack([flat(first), flat(second)]).detach()

    exact = derivatives(ExactReward()(policy, task))
    samples = torch.stack([
        derivatives(DiCE()(policy, many(task, 500))) for _ in range(60)])
    error = samples.std(0) / math.sqrt(len(samples)) + 1e-9
    assert (exact.abs() / error).amax(1).min() > 10  # not trivial
    assert ((samples.mean(0) - exact).abs() / error).max() < 5


def test_a_surrogate_would_have_another_second_derivative(
        recorded, small_policy, many):
    """What the test above can tell apart: without the box, curvature lacks
    what the sampling contributes."""
    task, policy = recorded(images=2), small_policy()
    weights = [*policy.heads.action.parameters()]
    direction = [torch.randn_like(weight) for weight in weights]

    def curvature(loss):
        first = torch.autograd.grad(loss, weights, create_graph=True)
        along = sum((g * v).sum() for g, v in zip(first, direction))
        return flat(torch.autograd.grad(along, weights))

    def surrogate():
        played = play(many(task, 8000), policy)
        choice, _ = policy.evaluate(played.observation)
        return -(choice.log_prob(played.action).sum(0)
                 * played.reward.sum(0)).mean()

    exact = curvature(ExactReward()(policy, task))
    assert (curvature(DiCE()(policy, many(task, 8000))) - exact
            ).norm() < .2 * exact.norm()
    assert (curvature(surrogate()) - exact).norm() > .3 * exact.norm()


@pytest.mark.parametrize('gamma', [1., .5])
def test_the_baseline_is_the_mean_of_the_others(
        recorded, small_policy, gamma):
    """By hand: of each step's return, what the two others earn from it on."""
    task, policy = recorded(images=3), small_policy()
    torch.manual_seed(5)
    played = play(task, policy)
    log_prob = policy.evaluate(played.observation)[0].log_prob(played.action)
    later = played.reward[1]
    returns = torch.stack([played.reward[0] + gamma * later, later])
    baseline = (returns.sum(1, keepdim=True) - returns) / 2
    discount = torch.tensor([1., gamma])[:, None]
    expected = -(discount * log_prob * (returns - baseline)).sum(0).mean()
    torch.manual_seed(5)
    loss = DiCE(gamma)(policy, task)
    weights = [*policy.heads.action.parameters()]
    torch.testing.assert_close(*(
        torch.autograd.grad(each, weights) for each in (loss, expected)))


class Generous(RecordedEnvironment):
    """Gives 50 more at every step, whatever is done."""

    def step(self, action):
        observation, reward = super().step(action)
        return Outcome(observation, reward + 50)


def test_what_every_action_earns_adds_no_noise(recorded, small_policy, many):
    """The baseline, which is the mean of the others, takes it off."""
    task, policy = recorded(images=1), small_policy()
    weights = [*policy.heads.action.parameters()]
    exact = flat(torch.autograd.grad(ExactReward()(policy, task), weights))
    copies = many(task, 500)
    generous = Generous(copies.recording, task.space, 2, task.efficiency)
    plain, samples = (torch.stack([
        flat(torch.autograd.grad(DiCE()(policy, each), weights))
        for _ in range(30)]) for each in (copies, generous))
    error = samples.std(0) / math.sqrt(len(samples)) + 1e-9
    assert ((samples.mean(0) - exact).abs() / error).max() < 5
    assert samples.std(0).norm() < 2 * plain.std(0).norm()


def test_mamls_gradient_by_samples_converges_to_the_exact_one(
        recorded, small_policy, many):
    """One inner step; episodes of the outer loss are played again."""
    support, query = recorded(images=2), recorded(images=2)
    policy = small_policy()
    exact = meta_gradient(
        MAML(policy, ExactReward(), lr=.5, steps=1), support, query)
    sampled = MAML(policy, DiCE(), lr=.5, steps=1)
    found = torch.stack([
        meta_gradient(sampled, many(support, 2000), many(query, 2000))
        for _ in range(20)]).mean(0)
    first_order = meta_gradient(
        MAML(policy, ExactReward(), lr=.5, steps=1, first_order=True),
        support, query)
    assert (found - exact).norm() < .1 * exact.norm()
    assert (first_order - exact).norm() > .2 * exact.norm()


@pytest.mark.parametrize('objective', [ExactReward(), DiCE()])
@pytest.mark.parametrize('learner', [MAML, Reptile])
def test_meta_training_makes_adaptation_better(
        recorded, small_policy, learner, objective):
    """Two tasks whose rewards are opposite: what is best before an adaptation
    is bad for both, what is best after it is not."""
    one = recorded(images=40, horizon=1, efficiency=0.)
    one.recording.gains.copy_(one.recording.gains[:1].expand(40, -1))
    one = one.take(torch.arange(40))
    other = one.take(torch.arange(40))
    other.recording.gains.neg_()
    other = other.take(torch.arange(40))
    policy = small_policy(horizon=1)
    meta = learner(policy, objective, lr=.3, meta_lr=1e-2, steps=2, shots=20)
    logs = [meta.update([one, other]) for _ in range(40)]
    first, last = (torch.stack([log.after for log in part]).mean()
                   for part in (logs[:5], logs[-5:]))
    assert last < first - .05
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    adapted = meta.fast_adapt(one, shots=20, steps=2)
    assert one.regret(adapted).mean() < one.regret(policy).mean() - .1
    assert all(before[name].equal(weight)
               for name, weight in policy.state_dict().items())


def test_rewards_must_be_known(small_policy, recorded):
    task = recorded()
    with pytest.raises(ValueError, match='DiCE: DecisionProcess.step returns '
                       'no reward; accepted'):
        DiCE()(small_policy(), task.process)
