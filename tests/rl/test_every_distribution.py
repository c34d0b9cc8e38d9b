"""What holds for every distribution over masked actions."""

import itertools
import math

import pytest
import torch
from tensordict import TensorDict
from torch.distributions import Categorical, kl_divergence

from mmrlkd.rl import (
    FactoredCategorical,
    MaskedCategorical,
    SubsetDistribution,
    subset_table,
)

TABLE = subset_table(3, torch.device('cpu')).double()
MASK = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1]).bool()
KNOBS = dict(crops=4, topk=3, blocks=2)


class Categoricals:
    """Builds a member, and lists its actions with independent probabilities."""

    width = 8

    def logits(self, batch):
        return torch.randn(batch, self.width, dtype=torch.float64)

    def build(self, logits, masked=True):
        mask = MASK if masked else torch.ones_like(MASK)
        return MaskedCategorical(logits, mask.expand(len(logits), -1))

    def scores(self, logits):
        return logits

    def actions(self):
        return [torch.tensor(i) for i in range(8)]

    def allowed(self, action):
        return bool(MASK[action])

    def log_probs(self, logits, masked=True):
        """(B, actions), of torch.distributions."""
        scores = self.scores(logits)
        if masked:
            scores = scores.masked_fill(~MASK, -torch.inf)
        return Categorical(logits=scores, validate_args=False).logits


class Subsets(Categoricals):
    width = 3

    def build(self, logits, masked=True):
        mask = MASK if masked else torch.ones_like(MASK)
        return SubsetDistribution(logits, mask.expand(len(logits), -1))

    def scores(self, logits):
        return logits @ TABLE.T


class FreeSubsets(Subsets):
    width = 8

    def scores(self, logits):
        return logits


class Factored:
    masks = dict(crops=torch.tensor([1, 1, 0, 1]).bool(),
                 topk=torch.tensor([0, 1, 1]).bool(),
                 blocks=torch.tensor([1, 1]).bool())

    def logits(self, batch):
        return TensorDict({
            head: torch.randn(batch, number, dtype=torch.float64)
            for head, number in KNOBS.items()}, [batch])

    def build(self, logits, masked=True):
        if not masked:
            return FactoredCategorical(logits)
        return FactoredCategorical(logits, {
            head: mask.expand(*logits.shape, -1)
            for head, mask in self.masks.items()})

    def actions(self):
        return [TensorDict(dict(zip(KNOBS, map(torch.tensor, values))), [])
                for values in itertools.product(*map(range, KNOBS.values()))]

    def allowed(self, action):
        return all(bool(self.masks[head][action[head]]) for head in KNOBS)

    def log_probs(self, logits, masked=True):
        heads = []
        for head in KNOBS:
            scores = logits[head]
            if masked:
                scores = scores.masked_fill(~self.masks[head], -torch.inf)
            heads.append(Categorical(
                logits=scores, validate_args=False).logits)
        crops, topk, blocks = heads
        return (crops[:, :, None, None] + topk[:, None, :, None] +
                blocks[:, None, None, :]).flatten(1)


FAMILY = dict(MaskedCategorical=Categoricals(), SubsetDistribution=Subsets(),
              free_subsets=FreeSubsets(), FactoredCategorical=Factored())


@pytest.fixture(params=FAMILY)
def member(request):
    return FAMILY[request.param]


def spread(action, batch):
    return action.expand(batch)


def enumerated(choice, member, batch):
    """(B, actions) log-probabilities by the distribution itself."""
    return torch.stack([choice.log_prob(spread(action, batch))
                        for action in member.actions()], -1)


@pytest.mark.parametrize('masked', [True, False])
def test_log_probabilities_are_those_of_torch_and_sum_to_1(member, masked):
    logits = member.logits(5)
    found = enumerated(member.build(logits, masked), member, 5)
    torch.testing.assert_close(found, member.log_probs(logits, masked))
    torch.testing.assert_close(
        found.exp().sum(-1), torch.ones(5, dtype=torch.float64))


def test_what_the_mask_forbids_has_probability_0_and_is_never_drawn(member):
    choice = member.build(member.logits(200))
    found = enumerated(choice, member, 200).exp()
    for column, action in zip(found.T, member.actions(), strict=True):
        assert (column > 0).all() == member.allowed(action)
    for drawn in choice.sample(), choice.mode():
        assert all(member.allowed(drawn[i]) for i in range(200))


def test_entropy_is_that_of_the_enumerated_actions(member):
    logits = member.logits(5)
    log_probs = member.log_probs(logits)
    probs = log_probs.exp()
    expected = -(probs * log_probs.masked_fill(probs == 0, 0.)).sum(-1)
    torch.testing.assert_close(member.build(logits).entropy(), expected)


def test_divergence_is_that_of_torch(member):
    one, two = member.logits(5), member.logits(5)
    expected = kl_divergence(
        Categorical(logits=member.log_probs(one, masked=False)),
        Categorical(logits=member.log_probs(two, masked=False)))
    found = member.build(one, masked=False).kl(member.build(two, masked=False))
    torch.testing.assert_close(found, expected)
    # Under masks: the sum over what is allowed.
    probs = member.log_probs(one).exp()
    difference = (member.log_probs(one) - member.log_probs(two)).masked_fill(
        probs == 0, 0.)
    choice = member.build(one)
    torch.testing.assert_close(
        choice.kl(member.build(two)), (probs * difference).sum(-1))
    assert choice.kl(choice.with_logits(one)).abs().max() < 1e-12


def test_the_mode_is_the_likeliest_action(member):
    choice = member.build(member.logits(50))
    best = enumerated(choice, member, 50).amax(-1)
    torch.testing.assert_close(choice.log_prob(choice.mode()), best)


def test_draws_follow_the_probabilities(member):
    torch.manual_seed(0)
    logits, number = member.logits(1), 40_000
    drawn = member.build(logits.expand(number, *logits.shape[1:])
                         if isinstance(logits, torch.Tensor)
                         else logits.expand(number)).sample()
    expected = member.log_probs(logits)[0].exp()
    for action, prob in zip(member.actions(), expected.tolist(), strict=True):
        hits = drawn == action
        if not isinstance(hits, torch.Tensor):  # by head
            hits = torch.stack([hits[head] for head in KNOBS]).all(0)
        assert hits.float().mean().item() == pytest.approx(
            prob, abs=5 * math.sqrt(prob * (1 - prob) / number) + 1e-9)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_count_as_0(member, bad):
    logits = member.logits(20)
    broken = member.build(logits * bad)
    zero = member.build(logits * 0.)
    torch.testing.assert_close(broken.entropy(), zero.entropy())
    assert all(member.allowed(broken.sample()[i]) for i in range(20))


def test_expected_score_is_zero(member):
    """E[∇ log π] = 0, enumerated."""
    logits = member.logits(1)
    leaves = [logits.requires_grad_()] if isinstance(
        logits, torch.Tensor) else [
            logits[head].requires_grad_() for head in KNOBS]
    log_probs = torch.stack([
        member.build(logits).log_prob(spread(action, 1))
        for action in member.actions() if member.allowed(action)])
    for gradient in torch.autograd.grad(
            (log_probs.exp().detach() * log_probs).sum(), leaves):
        assert gradient.abs().max() < 1e-12


def test_steps_stacked_are_one_distribution(member):
    steps = [member.build(member.logits(5)) for _ in range(3)]
    whole = steps[0].stacked(steps)
    actions = [step.sample() for step in steps]
    assert whole.log_prob(torch.stack(actions)).equal(torch.stack([
        step.log_prob(action)
        for step, action in zip(steps, actions, strict=True)]))
    assert whole.entropy().shape == (3, 5)


def test_heads_without_a_mask_of_their_own_are_an_error():
    with pytest.raises(ValueError, match=r"the heads \['a'\] and a mask of \['b'\]"):
        FactoredCategorical(dict(a=torch.zeros(2, 3)),
                            dict(b=torch.ones(2, 3, dtype=torch.bool)))
