"""Meta-learners on a loss whose meta-gradient is known: L = a (θ − c)² / 2."""

import copy

import pytest
import torch
from torch import nn

from mmrlkd.rl import PolicyModule
from mmrlkd.rl.meta import MAML, Reptile


class Point(PolicyModule):
    """One number θ."""

    def __init__(self, start):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def initial(self, batch, device):
        return ()

    def forward(self, observation, memory):
        raise NotImplementedError


class Parabola:
    """A task with as many samples as one likes, all the same."""
    device = torch.device('cpu')
    horizon = 1

    def __init__(self, a, c, batch_size=4):
        self.a, self.c, self.batch_size = a, c, batch_size

    def take(self, episodes):
        return Parabola(self.a, self.c, len(episodes))


def loss(policy, task):
    return task.a * (policy.parameters['theta'] - task.c)**2 / 2


def gradient(learner, task):
    clone = learner.adapted(task, learner.steps)
    return torch.autograd.grad(
        learner.meta_loss(clone, task), learner.policy.theta)[0].item()


def build(kind, start=1., **kwargs):
    options = dict(lr=.1, steps=3, shots=2) | kwargs
    if kind is not Reptile:
        options['first_order'] = kind == 'FOMAML'
    return (Reptile if kind is Reptile else MAML)(
        Point(start), loss, **options)


@pytest.mark.parametrize(('kind', 'expected'), [
    (MAML, -1.048576), ('FOMAML', -2.048), (Reptile, -.976)])
def test_of_a_parabola(kind, expected):
    learner = build(kind)
    assert gradient(learner, Parabola(2., 3.)) == pytest.approx(
        expected, abs=1e-12)
    assert learner.policy.theta.item() == 1.  # nothing has moved
    assert learner.policy.theta.grad is None


@pytest.mark.parametrize('kind', [MAML, 'FOMAML'])
def test_without_inner_steps_it_is_the_joint_gradient(kind):
    assert gradient(build(kind, lr=0.), Parabola(2., 3.)) == pytest.approx(-4.)


def test_the_defaults_are_the_specified_ones():
    learner = MAML(Point(1.), loss)
    assert (learner.lr, learner.steps, learner.shots, learner.first_order) == (
        1e-3, 5, 100, False)
    assert learner._descent.lr == 1e-4


def test_a_clone_is_adapted_by_hand_as_in_learn2learn():
    learner = build(MAML)
    clone = learner.clone()
    for _ in range(3):
        assert clone.adapt(loss(clone, Parabola(2., 3.))) is clone
    loss(clone, Parabola(2., 3.)).backward()
    assert learner.policy.theta.grad.item() == pytest.approx(-1.048576)
    assert learner.policy.theta.item() == 1.


def test_fast_adapt_leaves_the_meta_policy():
    learner = build(MAML)
    with torch.no_grad():  # as inside of a selector
        adapted = learner.fast_adapt(Parabola(2., 3.), shots=4, steps=3)
    assert isinstance(adapted, Point) and adapted is not learner.policy
    assert adapted.theta.item() == pytest.approx(3 - 2 * .8**3)
    assert adapted.theta.is_leaf and adapted.theta.requires_grad
    assert adapted.theta.grad is None
    assert learner.policy.theta.item() == 1.
    same = learner.fast_adapt(Parabola(2., 3.), shots=4, steps=0)
    assert same.theta.item() == 1.


@pytest.mark.parametrize('kind', [MAML, 'FOMAML', Reptile])
def test_an_update_follows_the_mean_of_the_tasks(kind):
    """Adam's first step is of length lr, along the sign; c̄ is the optimum."""
    learner = build(kind, meta_lr=.05)
    tasks = [Parabola(2., 3.), Parabola(2., 0.)]
    stats = learner.update(tasks)
    assert learner.policy.theta.item() == pytest.approx(1.05, abs=1e-4)
    assert stats.before.item() == pytest.approx((4 + 1) / 2)
    assert stats.after.item() == pytest.approx((4 + 1) / 2 * .8**6)
    assert stats.skipped_steps == 0
    for _ in range(200):
        learner.update(tasks)
    assert learner.policy.theta.item() == pytest.approx(1.5, abs=1e-2)


def test_it_resumes_bit_for_bit():
    learner, tasks = build(MAML, meta_lr=.05), [Parabola(2., 3.)]
    learner.update(tasks)
    other = build(MAML, learner.policy.theta.item(), meta_lr=.05)
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    learner.update(tasks)
    other.update(tasks)
    assert learner.policy.theta.equal(other.policy.theta)


def test_a_gradient_that_is_not_finite_is_not_followed():
    learner = build(MAML)
    assert learner.update([Parabola(float('nan'), 3.)]).skipped_steps == 1
    assert learner.policy.theta.item() == 1.


@pytest.mark.parametrize(('shots', 'message'), [
    (0, 'MAML.fast_adapt: shots=0; accepted: an integer >= 1'),
    (5, 'MAML.fast_adapt: shots=5; accepted: at most 4, for the task has 4')])
def test_shots_that_there_are_not(shots, message):
    with pytest.raises(ValueError, match=message):
        build(MAML).fast_adapt(Parabola(2., 3.), shots=shots)


def test_an_update_leaves_samples_to_test_with():
    with pytest.raises(ValueError, match='at most 3, for the task has 4 '
                       'samples, 1 of which tests the result'):
        build(MAML, shots=4).update([Parabola(2., 3.)])


def test_an_update_needs_tasks():
    with pytest.raises(ValueError, match='MAML: tasks=.*at least one task'):
        build(MAML).update([])


@pytest.mark.parametrize(('kind', 'options'), [
    (MAML, dict(lr=-1.)), (MAML, dict(steps=0)), (MAML, dict(shots=0)),
    (MAML, dict(meta_lr=0.)), (Reptile, dict(lr=0.))])
def test_impossible_settings_are_errors(kind, options):
    (key, value), = options.items()
    with pytest.raises(ValueError, match=f'{kind.__name__}: {key}={value}'):
        build(kind, **options)
