"""The gradient of DARTS, against its known answers and exact derivatives."""

import copy

import pytest
import torch
from torch.func import functional_call

from mmrlkd.distillation.hypergradient import (
    central_difference,
    directional_derivative,
    virtual_step,
)

SGD = dict(lr=0.1, momentum=0.9, weight_decay=0.05)


def hypergradient(train_loss, val_loss, weights, alpha, optimizer=None):
    """d L_val(w'(α), α)/dα by equations 7 and 8 of the paper, with w' the next step
    of an SGD of one learning rate; without optimizer the first order, w' = w."""
    if optimizer is None:
        return torch.autograd.grad(
            val_loss(weights, alpha), alpha, materialize_grads=True)[0]
    gradients = torch.autograd.grad(train_loss(weights, alpha), weights)
    moved = virtual_step(optimizer, dict(zip(weights, gradients)))
    ahead = [moved[weight].requires_grad_() for weight in weights]
    direct, *vector = torch.autograd.grad(
        val_loss(ahead, alpha), [alpha, *ahead], materialize_grads=True)
    return direct - optimizer.param_groups[0]['lr'] * directional_derivative(
        lambda point: torch.autograd.grad(
            train_loss(point, alpha), alpha, materialize_grads=True)[0],
        [weight.detach() for weight in weights], vector)


@pytest.mark.parametrize('xi, fixed_point', [(0, 2.), (0.5, 1.), (0.25, 4 / 3)])
def test_the_example_of_the_darts_paper_reaches_its_fixed_point(xi, fixed_point):
    """L_val = αw − 2α + 1, L_tr = (w − α)² meet at α = w = 2/(1 + 2ξ)."""
    alpha = torch.tensor(2., dtype=torch.float64, requires_grad=True)
    w = torch.tensor(-2., dtype=torch.float64, requires_grad=True)

    def train_loss(weights, alpha):
        return (weights[0] - alpha)**2

    def val_loss(weights, alpha):
        return alpha * weights[0] - 2 * alpha + 1

    optimizer = torch.optim.SGD([w], lr=xi or 0.1)
    for _ in range(300):
        gradient = hypergradient(
            train_loss, val_loss, [w], alpha, optimizer if xi else None)
        alpha.data -= 0.1 * gradient
        optimizer.zero_grad()
        train_loss([w], alpha).backward(inputs=[w])
        optimizer.step()
    assert alpha.item() == pytest.approx(fixed_point, abs=1e-6)
    assert w.item() == pytest.approx(fixed_point, abs=1e-6)


@pytest.fixture
def network():
    """A network whose two outputs' losses are weighed by α, and its losses."""
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    names = [name for name, _ in model.named_parameters()]
    data = torch.randn(2, 12, 7, dtype=torch.float64)

    def errors(weights, batch):
        out = functional_call(model, dict(zip(names, weights)), batch[:, :5])
        return ((out - batch[:, 5:])**2).mean(dim=0)

    def train_loss(weights, alpha):
        return (alpha.softmax(0) * errors(weights, data[0])).sum()

    def val_loss(weights, alpha):
        return errors(weights, data[1]).sum() + alpha.square().sum()

    return list(model.parameters()), train_loss, val_loss


@pytest.mark.parametrize('steps', [0, 3], ids=['no velocity', 'velocity'])
def test_the_second_order_is_the_exact_derivative(network, steps):
    weights, train_loss, val_loss = network
    alpha = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD(weights, **SGD)
    for _ in range(steps):
        optimizer.zero_grad()
        train_loss(weights, alpha).backward(inputs=weights)
        optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())

    def exact(alpha):
        gradients = torch.autograd.grad(
            train_loss(weights, alpha), weights, create_graph=True)
        ahead = []
        for w, g in zip(weights, gradients):
            velocity = g + SGD['weight_decay'] * w
            if steps:
                velocity = velocity + SGD['momentum'] * (
                    optimizer.state[w]['momentum_buffer'])
            ahead.append(w - SGD['lr'] * velocity)
        return torch.autograd.grad(val_loss(ahead, alpha), alpha)[0]

    found = hypergradient(train_loss, val_loss, weights, alpha, optimizer)
    torch.testing.assert_close(found, exact(alpha), rtol=1e-10, atol=1e-12)
    first = hypergradient(train_loss, val_loss, weights, alpha)
    torch.testing.assert_close(first, 2 * alpha.detach())
    assert not torch.allclose(found, first, rtol=1e-3)
    for key, state in optimizer.state_dict()['state'].items():
        for name, value in state.items():
            assert torch.equal(value, before['state'][key][name])


@pytest.mark.parametrize('make', [
    lambda p: torch.optim.SGD(p, **SGD),
    lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
], ids=['SGD', 'AdamW'])
def test_a_virtual_step_is_the_step_not_taken(make):
    parameters = [torch.nn.Parameter(torch.randn(3)) for _ in range(3)]
    optimizer = make([dict(params=parameters[:2]),
                      dict(params=parameters[2:], lr=0.5)])
    for _ in range(2):
        for p in parameters:
            p.grad = torch.randn(3)
        optimizer.step()
    own = [p.grad for p in parameters]
    before = [p.detach().clone() for p in parameters]
    gradients = {p: torch.randn(3) for p in parameters[1:]}

    moved = virtual_step(optimizer, gradients)

    for p, old, grad in zip(parameters, before, own):
        assert torch.equal(p, old) and p.grad is grad
        p.grad = gradients.get(p)
    optimizer.step()
    assert set(moved) == set(gradients)
    for p in gradients:
        assert torch.equal(moved[p], p)


@pytest.mark.parametrize('derivative, rtol', [
    (directional_derivative, 1e-12), (central_difference, 1e-6)])
def test_a_derivative_along_a_direction(derivative, rtol):
    point = [torch.randn(4, dtype=torch.float64) for _ in range(2)]
    direction = [torch.randn(4, dtype=torch.float64) for _ in range(2)]

    def function(p):
        return torch.stack([(p[0]**2).sum(), (p[0] * p[1]).sum()])

    torch.testing.assert_close(
        derivative(function, point, direction),
        torch.stack([2 * (point[0] * direction[0]).sum(),
                     (direction[0] * point[1] + point[0] * direction[1]).sum()]),
        rtol=rtol, atol=1e-9)
    none = [torch.zeros(4, dtype=torch.float64)] * 2
    assert derivative(function, point, none).tolist() == [0, 0]
