"""The rule that begins a new task's adapter."""

import pytest
import torch

from mmrlkd.distillation.selection.policies import TokenPolicy


@pytest.fixture
def fitted(recorded_task):
    """What a level's map becomes, and a policy of so many numbers a token."""

    def fitted(width=3, change=lambda features: features, **kwargs):
        task = recorded_task(levels=1, width=4, **kwargs)
        features = task.recording.level_features
        features.copy_(change(features))
        task = task.take(torch.arange(task.batch_size))
        policy = TokenPolicy(width=width, hidden=8, layers=1).fitted(task)
        return policy.adapter(task.reset())[0][:, 0], policy

    return fitted


STRETCH = torch.tensor([1., 9., 3., .5])


def test_principal_components_in_units_of_the_first(fitted):
    tokens, _ = fitted(images=3000, change=lambda each: each * STRETCH + 7)
    torch.testing.assert_close(
        tokens.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    covariance = tokens.T @ tokens / len(tokens)
    spread = covariance.diag()
    assert spread[0] == pytest.approx(1., abs=1e-4)
    assert (covariance - spread.diag()).abs().max() < 1e-5
    # Of the channels stretched by 9, 3 and 1, in this order.
    assert spread.sqrt().tolist() == pytest.approx([1, 1 / 3, 1 / 9], rel=.1)


def test_the_loadings_of_each_component_sum_to_at_least_0(fitted):
    _, policy = fitted(change=lambda each: -each * STRETCH)
    assert (policy.adapter.levels[0].weight.sum(1) >= 0).all()


def test_the_scale_of_the_features_says_nothing(fitted):
    one, _ = fitted(change=lambda each: each * STRETCH)
    other, _ = fitted(change=lambda each: 1e-3 * each * STRETCH + 2)
    torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_more_channels_say_nothing_new(fitted, recorded_task):
    """The same map, its channels written four times."""
    narrow = recorded_task(levels=1, width=4)
    wide = recorded_task(levels=1, width=16)
    wide.recording.level_features.copy_(
        narrow.recording.level_features.repeat(1, 4))
    one, other = (
        TokenPolicy(width=3, hidden=8).fitted(task).adapter(task.reset())[0]
        for task in (narrow, wide.take(torch.arange(20))))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('images', [1, 2, 20])
def test_what_the_images_do_not_have_is_0(fitted, images):
    """Fewer channels than the token is wide, or fewer images."""
    tokens, _ = fitted(width=6, images=images)
    count = min(4, images - 1)
    assert (tokens[:, count:] == 0).all() and tokens.isfinite().all()
    assert (tokens[:, :count].abs().amax(0) > 1e-3).all()


def test_a_map_that_is_the_same_everywhere_is_0(fitted):
    tokens, _ = fitted(change=lambda each: torch.full_like(each, .1))
    assert (tokens == 0).all()


def test_a_fitted_policy_shares_its_weights_and_its_adapter_rests(
        recorded_task):
    policy = TokenPolicy(width=3, hidden=8, layers=1)
    before = torch.get_rng_state()
    one = policy.fitted(recorded_task())
    assert torch.get_rng_state().equal(before)
    assert one.shared is policy.shared
    assert {name for name, weight in one.named_parameters()
            if weight.requires_grad} == {
                name for name, _ in policy.named_parameters()}
