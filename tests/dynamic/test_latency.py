"""The latency model: calibrated bounds, and masks by them."""

import math

import pytest
import torch

from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.table import ProfileTable


def noisy(profile, images, seed, slope=0.):
    """Skewed latencies; those of the settings grow with the first feature."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(images, 4, generator=draw)
    noise = torch.empty(images, 6).exponential_(generator=draw)
    latency = torch.tensor([10., 25, 20, 35, 30, 45]) * (
        slope * features[:, :1]).exp() * (1 + 0.3 * noise)
    return ProfileTable(
        profile.header, profile.space, ('', ) * images, latency,
        torch.ones_like(latency), features, torch.zeros(images, 0),
        ('', ) * images, torch.ones_like(latency, dtype=torch.bool))


@pytest.mark.parametrize('ridge', [None, 0.01])
@pytest.mark.parametrize('quantile', [0.5, 0.9, 0.97])
def test_bounds_hold_as_often_as_they_say(profile, ridge, quantile):
    """Mean over calibration sets, of which each gives a random coverage: at
    least the quantile, at most 1 / (n + 1) more."""
    images, covered = 100, []
    new = noisy(profile, 4000, 0, slope=0.3)
    for seed in range(1, 41):
        model = LatencyModel.fit(noisy(profile, images, seed, 0.3), quantile, ridge)
        covered.append((new.latency <= model.upper(new.features)).float().mean(0))
    mean = torch.stack(covered).mean(0)
    calibrated_on = images if ridge is None else images // 2
    error = 4 * math.sqrt(
        quantile * (1 - quantile) / calibrated_on / len(covered))
    assert (mean > quantile - error).all()
    assert (mean < quantile + 1 / (calibrated_on + 1) + error).all()


def test_a_bound_is_the_smallest_that_so_few_images_allow(profile):
    table = noisy(profile, 33, 1)
    model = LatencyModel.fit(table, 0.97)
    torch.testing.assert_close(
        model.upper(table.features[:1])[0], table.latency.amax(0))


def test_bounds_are_of_single_runs_where_the_table_has_them(profile):
    from dataclasses import replace
    table = noisy(profile, 200, 1)
    single = table.latency * 1.5
    model = LatencyModel.fit(replace(table, single=single), 0.9)
    plain = LatencyModel.fit(table, 0.9)
    assert model.median.equal(plain.median)
    torch.testing.assert_close(model.ratio, 1.5 * plain.ratio)
    torch.testing.assert_close(model.marginal, model.median * model.ratio)


def test_too_few_images_for_a_quantile_are_an_error(profile):
    with pytest.raises(ValueError, match=(
            r'budget.latency: quantile=0.97; accepted: at least 33 images .* '
            'scale=0.5 blocks=few has 32, or a lower quantile')):
        LatencyModel.fit(noisy(profile, 32, 1), 0.97)


def test_a_regression_sees_which_images_are_slow(profile):
    table, new = noisy(profile, 2000, 1, 0.5), noisy(profile, 2000, 2, 0.5)
    flat = LatencyModel.fit(table, 0.9)
    fitted = LatencyModel.fit(table, 0.9, ridge=0.01)
    torch.testing.assert_close(
        fitted.weight[0], torch.full((6, ), 0.5), atol=0.05, rtol=0)
    # It promises as much with bounds that are lower.
    assert (fitted.upper(new.features).mean(0)
            < 0.85 * flat.upper(new.features).mean(0)).all()


def test_what_does_not_fit_is_masked(profile):
    model = LatencyModel.fit(profile)
    upper = model.upper(profile.features[:1])[0]
    order = upper.argsort()
    budgets = torch.cat([upper[order] + 0.5, torch.tensor([1., math.inf])])
    allowed, feasible = model.allowed(
        profile.features[:1].expand(8, -1), budgets - 0.5 + 1e-4)
    for k in range(6):
        assert allowed[k, order[:k + 1]].all()
        assert allowed[k].sum() == k + 1
    # Where nothing fits there is the cheapest, and it is said.
    assert allowed[6].nonzero().flatten().tolist() == [int(order[0])]
    assert feasible.tolist() == [True] * 6 + [False, True]
    assert allowed[7].all()


def test_a_log_is_fitted_by_what_was_measured(profile):
    table = noisy(profile, 600, 3)
    draw = torch.Generator().manual_seed(0)
    chosen = torch.randint(6, (600, 1), generator=draw)
    measured = torch.zeros(600, 6, dtype=torch.bool).scatter_(1, chosen, True)
    log = ProfileTable(
        table.header, table.space, table.images,
        table.latency.where(measured, math.nan), table.quality, table.features,
        table.context, table.difficulty, measured, measured.float())
    some = LatencyModel.fit(log, 0.9, ridge=1.)
    torch.testing.assert_close(
        some.median, LatencyModel.fit(table).median, rtol=0.1, atol=0)
    new = noisy(profile, 4000, 4)
    covered = (new.latency <= some.upper(new.features)).float().mean(0)
    assert (covered > 0.8).all()


def test_it_is_kept_with_the_controller(profile):
    model = LatencyModel.fit(profile, ridge=1.)
    again = LatencyModel.from_state_dict(model.state_dict())
    assert again.upper(profile.features).equal(model.upper(profile.features))
    assert again.marginal.equal(model.marginal)
