"""The controller as a network and as a policy."""

import math

import pytest
import torch

from mmrlkd.dynamic.controller import (
    MOST_PARAMETERS,
    BudgetEncoding,
    BudgetObservation,
    Controller,
    ControllerPolicy,
)


@pytest.fixture
def controller():
    torch.manual_seed(0)
    made = Controller(feature_dim=4, sizes=(3, 2), context_dim=2, hidden=8)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def observe(mask, budget=30.):
    batch = len(mask)
    return BudgetObservation(
        features=torch.randn(batch, 4), context=torch.randn(batch, 2),
        budget=torch.full((batch, ), budget), action_mask=mask,
        batch_size=[batch])


def test_heads_are_independent_where_nothing_is_masked(controller):
    seen = observe(torch.ones(5, 6, dtype=torch.bool))
    scale, blocks = controller(seen.features, seen.context, seen.budget)
    assert (scale.shape, blocks.shape) == ((5, 3), (5, 2))
    choice, value, _ = ControllerPolicy(controller)(seen, ())
    # The last knob varies fastest.
    product = scale.softmax(1)[:, :, None] * blocks.softmax(1)[:, None]
    torch.testing.assert_close(choice.probs, product.flatten(1))
    assert value is None


def test_a_mask_conditions_the_joint_distribution(controller):
    mask = torch.tensor([[True, False, False, True, True, False]])
    seen = observe(mask)
    policy = ControllerPolicy(controller)
    free = policy(observe(mask).replace(**dict(seen.items())).replace(
        action_mask=torch.ones_like(mask)), ())[0].probs
    masked = policy(seen, ())[0].probs
    torch.testing.assert_close(masked, free * mask / (free * mask).sum())
    assert (masked[~mask] == 0).all()
    drawn = torch.stack([policy(seen, ())[0].sample() for _ in range(200)])
    assert set(drawn.flatten().tolist()) <= {0, 3, 4}


def test_budgets_are_one_hot_at_the_centres_and_linear_between():
    encoding = BudgetEncoding(low=10., high=160., reference=40., bins=5)
    centres = torch.tensor([10., 20, 40, 80, 160])
    torch.testing.assert_close(encoding(centres)[:, 1:], torch.eye(5))
    torch.testing.assert_close(
        encoding(centres)[:, 0], torch.arange(-2, 3) * math.log(2))
    between = encoding(torch.tensor([math.sqrt(20 * 40)]))[0, 1:]
    torch.testing.assert_close(between, torch.tensor([0., .5, .5, 0., 0.]))
    for outside, end in ((1., 10.), (1e6, 160.), (math.inf, 160.)):
        assert encoding(torch.tensor([outside])).equal(
            encoding(torch.tensor([end])))


def test_inputs_are_scaled_as_in_training(controller):
    features = torch.randn(50, 4) * 7 + 3
    features[:, 2] = 5.  # says nothing
    controller.calibrate(features, torch.randn(50, 2), 10., 40., 30.)
    budget = torch.tensor([20.])
    context = torch.zeros(1, 2)
    out = controller.scores(features[:1], context, budget)
    other = features[:1].clone()
    other[:, 2] = 1e6
    assert controller.scores(other, context, budget).equal(out)
    other = features[:1] * 2
    assert not controller.scores(other, context, budget).equal(out)


def test_a_controller_is_small():
    count = sum(p.numel() for p in Controller(768, (4, 4, 4), 2048).parameters())
    assert 300_000 < count <= MOST_PARAMETERS
    with pytest.raises(ValueError, match=(
            r'Controller: hidden=512; accepted: a width at which 2816 inputs make '
            r'at most 500000 parameters, not 1\d{6}')):
        Controller(768, (4, 4, 4), 2048, hidden=512)
