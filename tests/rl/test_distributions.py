"""The distribution over subsets: exact, feasible, and safe to differentiate."""

import math
from functools import partial
from itertools import product

import pytest
import torch
from mmrlkd.decision import SubsetDistribution, subset_costs, subset_table
from torch.distributions import Bernoulli, Categorical, kl_divergence

CPU = torch.device('cpu')


def feasible_within(costs, budget):
    feasible = subset_costs(costs) <= budget
    feasible[0] = False
    return feasible


#: (L, feasible (2^L,)): from a single choice to all of them.
MASKS = [
    torch.tensor([False, True]),
    torch.tensor([True, True]),
    feasible_within((4., 2., 1., .5), 0.5),
    feasible_within((4., 2., 1., .5), 3.),
    feasible_within((4., 2., 1., .5), 7.5),
    feasible_within((1., ) * 6, 2.),
]


@pytest.mark.parametrize('levels', [1, 2, 4, 6])
def test_table_lists_every_subset_by_its_bits(levels):
    table = subset_table(levels, CPU)
    expected = [bits[::-1] for bits in product((0, 1), repeat=levels)]
    assert table.dtype == torch.bool
    assert table.int().tolist() == [list(bits) for bits in expected]


def test_costs_are_sums():
    costs = subset_costs((4., 2., 1., .5))
    assert costs[0b1111] == 7.5
    assert costs[0b0101] == 5.


@pytest.mark.parametrize(('costs', 'budget', 'count'), [
    ((1., ) * 4, 4., 15),
    ((1., ) * 4, 2., 10),
])
def test_entropy_of_zero_logits_is_log_count(costs, budget, count):
    choice = SubsetDistribution(
        torch.zeros(4, dtype=torch.float64), feasible_within(costs, budget))
    assert choice.entropy().item() == pytest.approx(math.log(count), abs=1e-12)


@pytest.mark.parametrize(('budget', 'count'), [(1, 2), (2, 4), (3, 6), (7.5, 15)])
def test_number_of_feasible_subsets(budget, count):
    assert feasible_within((4., 2., 1., .5), budget).sum() == count


def test_conditional_log_prob_identity():
    """log p(s | not empty) = log Π Bernoulli − log(1 − Π(1 − p_i))."""
    logits = torch.randn(5, 4, dtype=torch.float64)
    nonempty = torch.arange(16).expand(5, 16) > 0
    index = torch.randint(1, 16, (5, ))
    bernoulli = Bernoulli(logits=logits)
    expected = bernoulli.log_prob(subset_table(4, CPU)[index].double()).sum(-1)
    expected = expected - torch.log1p(-(1 - bernoulli.probs).prod(-1))
    found = SubsetDistribution(logits, nonempty).log_prob(index)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('feasible', MASKS)
def test_probabilities_sum_to_one_over_what_is_feasible(feasible):
    levels = int(math.log2(len(feasible)))
    for width in (levels, len(feasible)):
        choice = SubsetDistribution(
            3 * torch.randn(7, width), feasible.expand(7, -1))
        assert (choice.probs[:, ~feasible] == 0).all()
        torch.testing.assert_close(choice.probs.sum(-1), torch.ones(7))
        for index in choice.sample(), choice.mode():
            assert feasible[index].all()


@pytest.mark.parametrize('feasible', MASKS)
def test_expected_score_is_zero(feasible):
    """E[∇ log π] = 0, enumerated."""
    levels = int(math.log2(len(feasible)))
    logits = torch.randn(levels, dtype=torch.float64, requires_grad=True)
    choice = SubsetDistribution(logits, feasible)
    index = feasible.nonzero().squeeze(-1)
    log_probs = torch.stack([choice.log_prob(i) for i in index])
    expected = (log_probs.exp().detach() * log_probs).sum()
    gradient, = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(
        gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


@pytest.mark.parametrize('feasible', MASKS)
@pytest.mark.parametrize('free', [False, True])
def test_gradients_equal_finite_differences(feasible, free):
    levels = int(math.log2(len(feasible)))
    width = len(feasible) if free else levels
    logits = torch.randn(width, dtype=torch.float64, requires_grad=True)
    other = SubsetDistribution(torch.randn_like(logits).detach(), feasible)
    index = feasible.nonzero()[-1, 0]
    for function in (
            lambda x: SubsetDistribution(x, feasible).log_prob(index),
            lambda x: SubsetDistribution(x, feasible).entropy(),
            lambda x: SubsetDistribution(x, feasible).kl(other),
            lambda x: other.kl(SubsetDistribution(x, feasible))):
        assert torch.autograd.gradcheck(function, logits)


@pytest.mark.parametrize('feasible', MASKS)
def test_extreme_logits_stay_finite(feasible):
    levels = int(math.log2(len(feasible)))
    logits = torch.full((levels, ), -1e4).requires_grad_()
    choice = SubsetDistribution(logits, feasible)
    total = choice.entropy() + choice.log_prob(choice.mode()) + choice.kl(choice)
    total.backward()
    assert total.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_broken_logits_still_draw_something_feasible(bad):
    feasible = MASKS[3].expand(50, -1)
    choice = SubsetDistribution(torch.full((50, 4), bad), feasible)
    for index in choice.sample(), choice.mode():
        assert MASKS[3][index].all()
    torch.testing.assert_close(
        choice.entropy(), torch.full((50, ), math.log(6)))


def test_level_logits_are_free_logits_summed():
    logits = torch.randn(3, 4)
    feasible = MASKS[3].expand(3, -1)
    free = logits @ subset_table(4, CPU).T.float()
    torch.testing.assert_close(
        SubsetDistribution(logits, feasible).probs,
        SubsetDistribution(free, feasible).probs)


def test_divergence_equals_torch():
    one, two = torch.randn(2, 5, 16, dtype=torch.float64)
    everything = torch.ones(5, 16, dtype=torch.bool)
    expected = kl_divergence(Categorical(logits=one), Categorical(logits=two))
    found = SubsetDistribution(one, everything).kl(
        SubsetDistribution(two, everything))
    torch.testing.assert_close(found, expected)


def test_divergence_is_infinite_where_the_other_forbids():
    wide, narrow = torch.tensor([True] * 4), torch.tensor([True] * 3 + [False])
    make = partial(SubsetDistribution, torch.zeros(2))
    assert make(wide).kl(make(narrow)) == math.inf
    assert make(narrow).kl(make(wide)).isfinite()


def test_draws_follow_the_probabilities():
    torch.manual_seed(0)
    logits, feasible = torch.randn(4), MASKS[4]
    choice = SubsetDistribution(
        logits.expand(20_000, -1), feasible.expand(20_000, -1))
    shares = choice.sample().bincount(minlength=16) / 20_000
    torch.testing.assert_close(shares, choice.probs[0], rtol=0, atol=0.02)


def test_table_first_built_in_inference_mode_serves_gradients():
    with torch.inference_mode():
        subset_table(3, CPU)
    logits = torch.zeros(3, requires_grad=True)
    SubsetDistribution(logits, torch.ones(8, dtype=torch.bool)).log_prob(
        torch.tensor(5)).backward()
    assert logits.grad.isfinite().all()
