"""GradNorm and its simplest relative, against what is known of them."""

import pytest
import torch
from torch import nn

from mmrlkd.registry import BALANCERS


def build(kind, names='abcd', **kwargs):
    balancer = BALANCERS.build(dict(type=f'mmrlkd.{kind}', **kwargs))
    balancer.bind(tuple(names))
    return balancer


def rows_of(norms):
    """Orthogonal rows of these lengths."""
    return torch.diag(torch.tensor(norms))


def settle(balancer, norms, rates, steps):
    """Weights after many batches like one another; the first batch's losses
    are 1, so that those that follow are the training rates."""
    active = torch.ones(len(norms), dtype=torch.bool)
    rows = rows_of(norms)
    balancer.weigh(rows, torch.ones(len(norms)), active)
    for _ in range(steps):
        weights = balancer.weigh(rows, torch.tensor(rates), active)
        assert (weights > 0).all()
        assert weights.sum().item() == pytest.approx(len(norms), rel=1e-4)
    return weights


@pytest.mark.parametrize('alpha', [0.0, 1.0])
def test_two_levels_of_one_training_rate_settle_at_inverse_norms(alpha):
    weights = settle(
        build('GradNorm', 'ab', alpha=alpha, lr=0.05), [1., 100.], [1., 1.],
        400)
    torch.testing.assert_close(
        weights, torch.tensor([1.9802, 0.0198]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('alpha, expected', [
    (0.0, [2.2222, 1.1111, 0.4444, 0.2222]),
    (1.0, [1.5504, 1.2403, 0.7442, 0.4651]),
])
@pytest.mark.parametrize('lr', [0.01, 0.1])
def test_four_levels_settle_at_the_fixed_point(alpha, expected, lr):
    weights = settle(
        build('GradNorm', alpha=alpha, lr=lr), [1., 2., 5., 10.],
        [0.5, 0.8, 1.2, 1.5], round(10 / lr))
    torch.testing.assert_close(
        weights, torch.tensor(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('alpha', [0.5, 1.5])
def test_between_the_known_alphas_norms_follow_the_rates(alpha):
    """As the docstring says: ordered as the rates are, but not at r^α."""
    norms, rates = torch.tensor([1., 2., 5., 10.]), [0.5, 0.8, 1.2, 1.5]
    weighted = norms * settle(
        build('GradNorm', alpha=alpha), norms.tolist(), rates, 600)
    assert (weighted.diff() > 0).all()


def test_a_step_is_the_closed_form_of_the_paper():
    """One step of log w, against Adam on autograd through the paper's loss."""
    lr, alpha = 1e-4, 1.5
    norms, rates = [1., 2., 5., 10.], torch.tensor([0.5, 0.8, 1.2, 1.5])
    balancer = build('GradNorm', alpha=alpha, lr=lr)
    active = torch.ones(4, dtype=torch.bool)
    balancer.weigh(rows_of(norms), torch.ones(4), active)
    before = balancer.weights.clone()
    after = balancer.weigh(rows_of(norms), rates, active)

    log = before.log().requires_grad_()
    adam = torch.optim.Adam([log], lr=lr, eps=0)
    weighted = log.exp() * torch.tensor(norms)
    target = (weighted.mean() * (rates / rates.mean())**alpha).detach()
    (weighted - target).abs().sum().backward()
    torch.testing.assert_close(
        log.grad, (weighted - target).sign() * weighted)  # the closed form
    adam.step()
    expected = log.exp().detach()
    torch.testing.assert_close(after, expected * 4 / expected.sum())


def test_norms_of_unweighted_losses_give_the_weights_no_gradient():
    """Norms of the unweighted losses do not depend on the weights."""
    torch.manual_seed(0)
    shared, weights = nn.Linear(4, 4), torch.ones(2, requires_grad=True)
    out = shared(torch.randn(8, 4))
    losses = torch.stack([out.square().mean(), out.abs().mean()])
    norms = torch.stack([
        torch.autograd.grad(loss, shared.weight, create_graph=True)[0].norm()
        for loss in losses])
    target = (norms.mean() * (losses / losses.mean())**1.5).detach()
    gradnorm_loss = (norms - target).abs().sum()
    assert torch.autograd.grad(
        gradnorm_loss, weights, allow_unused=True) == (None, )


def test_the_running_mean_is_of_inverse_norms():
    balancer = build('EMABalancer', 'ab', decay=0.5)
    active = torch.ones(2, dtype=torch.bool)
    one = balancer.weigh(rows_of([1., 4.]), torch.ones(2), active)
    torch.testing.assert_close(one, torch.tensor([1.6, 0.4]))
    two = balancer.weigh(rows_of([2., 2.]), torch.ones(2), active)
    torch.testing.assert_close(two, torch.tensor([4 / 3, 2 / 3]))


@pytest.mark.parametrize('kind', ['GradNorm', 'EMABalancer'])
def test_a_level_with_next_to_nothing_left_does_not_take_all(kind):
    balancer = build(kind, 'ab')
    active = torch.ones(2, dtype=torch.bool)
    for _ in range(50):
        weights = balancer.weigh(
            rows_of([1., 1e-12]), torch.tensor([1., 1e-12]), active)
    assert weights[0] > 1e-4
    kept = balancer.weights.clone()
    balancer.weigh(rows_of([1., 0.]), torch.tensor([1., 0.]), active)
    torch.testing.assert_close(balancer.weights, kept)
