"""One meta-policy over tasks of other levels, widths and descriptors."""

import pytest
import torch

from mmrlkd.distillation.selection.policies import MLPPolicy, TokenPolicy
from mmrlkd.rl.meta import MAML, ExactReward, Reptile


@pytest.fixture
def tasks(recorded_task):
    return [recorded_task(levels=3, width=4, seed=1),
            recorded_task(levels=4, width=7, seed=2, context=2),
            recorded_task(levels=1, width=2, seed=3)]


@pytest.fixture
def policy():
    policy = TokenPolicy(width=3, hidden=8, layers=1)
    with torch.no_grad():  # a fresh one hardly prefers anything
        policy.shared.action[2].weight.normal_()
    return policy.double()


def flat(tensors):
    return torch.cat([each.flatten() for each in tensors])


def total(learner, tasks, rate=.5):
    """The outer loss, with all images of each task in both parts."""
    return sum(learner.meta_loss(
        learner.adapted(task, 2, learner.fitted(task)), task)
        for task in tasks)


def test_the_gradient_of_a_mixed_batch_equals_finite_differences(
        tasks, policy):
    learner = MAML(policy, ExactReward(), lr=.5, shots=5)
    weights = list(policy.parameters())
    found = flat(torch.autograd.grad(
        total(learner, tasks), weights, allow_unused=True,
        materialize_grads=True))
    direction = torch.randn_like(found)
    start = torch.nn.utils.parameters_to_vector(weights).detach()
    losses = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(
            start + sign * 1e-6 * direction, weights)
        losses.append(total(learner, tasks).item())
    expected = (losses[0] - losses[1]) / 2e-6
    assert abs(expected) > 1e-3
    assert float(found @ direction) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('kind', [MAML, Reptile])
def test_a_mixed_batch_is_learnt_from(tasks, policy, kind):
    learner = kind(policy, ExactReward(), lr=.3, meta_lr=3e-2, steps=2,
                   shots=10)
    logs = [learner.update(tasks) for _ in range(20)]
    first, last = (torch.stack([log.after for log in part]).mean()
                   for part in (logs[:5], logs[-5:]))
    assert last < first - .05
    assert all(not log.skipped_steps for log in logs)


def test_fast_adapt_gives_a_policy_of_its_own(tasks, policy):
    learner = MAML(policy, ExactReward(), lr=1., shots=10)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    for task in tasks[:2]:
        adapted = learner.fast_adapt(task, shots=20, steps=30)
        start = learner.fast_adapt(task, shots=20, steps=0)
        assert adapted.space == task.space
        assert task.regret(adapted).mean() < task.regret(start).mean() - .05
        assert adapted.shared is not policy.shared
        for name, weight in adapted.adapter.named_parameters():
            torch.testing.assert_close(
                weight, start.adapter.get_parameter(name))
    assert all(before[name].equal(value)
               for name, value in policy.state_dict().items())


def test_adapting_sees_the_shots_alone(tasks, policy):
    """Whatever the other images look like."""
    learner, task = MAML(policy, ExactReward(), lr=1., shots=5), tasks[0]
    results = []
    for factor in (1., 100.):
        torch.manual_seed(3)
        shots = torch.randperm(task.batch_size)[:8]
        recording = task.recording.clone()
        others = torch.ones(task.batch_size, dtype=torch.bool)
        others[shots] = False
        recording.level_features[others] *= factor
        recording.gains[others] *= factor
        changed = type(task)(recording, task.space, task.horizon)
        torch.manual_seed(3)
        results.append(learner.fast_adapt(changed, shots=8, steps=3))
    for name, value in results[0].state_dict().items():
        assert value.equal(results[1].state_dict()[name]), name


def test_other_policies_take_tasks_of_the_same_widths(recorded_task):
    task, other = recorded_task(), recorded_task(width=5)
    policy = MLPPolicy(hidden=8, global_dim=4, level_dim=2)
    policy.bind(task.space, task.horizon)
    learner = MAML(policy, ExactReward(), shots=5)
    learner.update([task])
    with pytest.raises(ValueError, match=r'MLPPolicy is for .* widths '
                       r'\(\(4, 4, 4\), 5, 0\).*accepted: .*TokenPolicy'):
        learner.update([task, other])
