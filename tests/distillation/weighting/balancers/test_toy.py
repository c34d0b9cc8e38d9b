"""The toy problem of the GradNorm paper, reduced to seconds.

Chen et al., 2018, section 4: several targets σ_i tanh((B + ε_i) x) that have
much in common but their scale; the score is Σ_i loss_i / σ_i², each target
having the same say.
"""

import pytest
import torch
from torch import nn

from mmrlkd.registry import BALANCERS

SIGMAS = torch.tensor([1.0, 100.0])
SEEDS = range(3)


def score(seed, **balancer):
    """Mean normalised test loss after a short training."""
    torch.manual_seed(seed)
    base = torch.randn(10, 20) * 10**0.5
    maps = [base + torch.randn(10, 20) * 3.5**0.5 for _ in SIGMAS]
    trunk = nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 64), nn.ReLU())
    heads = nn.ModuleList(nn.Linear(64, 10) for _ in SIGMAS)
    balancer = BALANCERS.build(balancer)
    balancer.bind(('1', '100'))
    optimizer = torch.optim.Adam(
        [*trunk.parameters(), *heads.parameters()], lr=4e-3)

    def losses(n):
        x = torch.randn(n, 20)
        features = trunk(x)
        return torch.stack([
            (head(features) - sigma * torch.tanh(x @ m.T / 20**0.5)
             ).square().mean() for head, sigma, m in zip(heads, SIGMAS, maps)])

    for _ in range(250):
        loss = losses(16)
        rows = torch.stack([
            torch.autograd.grad(each, trunk[4].weight, retain_graph=True)[0]
            for each in loss]).flatten(1)
        weights = balancer.weigh(
            rows, loss.detach(), torch.ones(2, dtype=torch.bool))
        optimizer.zero_grad()
        (weights * loss).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return (losses(2000) / SIGMAS**2).mean().item()


@pytest.fixture(scope='module')
def equal():
    return [score(seed, type='mmrlkd.UniformBalancer') for seed in SEEDS]


@pytest.mark.parametrize('balancer', [
    dict(type='mmrlkd.GradNorm', lr=0.05),
    dict(type='mmrlkd.EMABalancer'),
], ids=['GradNorm', 'EMA'])
def test_balancing_lets_the_small_target_learn(equal, balancer):
    found = [score(seed, **balancer) for seed in SEEDS]
    assert all(mine < 0.9 * theirs for mine, theirs in zip(found, equal))
    assert sum(found) < 0.8 * sum(equal)
