"""Controllers trained on a table whose best settings are known."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from mmrlkd.dynamic.comparison import (
    BOUNDED,
    MIXED,
    ORACLE,
    RANDOM,
    STATIC,
    compare,
    deployed,
    interval,
    paired,
    split,
)
from mmrlkd.dynamic.environment import BudgetTask
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.logged import estimate
from mmrlkd.dynamic.plan import (
    TrainingPlan,
    budget_range,
    compared_budgets,
    drawn_budgets,
)
from mmrlkd.dynamic.reward import BudgetReward
from mmrlkd.dynamic.table import ProfileTable
from mmrlkd.dynamic.training import EXACT, WARM_START, Draw, train_controllers

#: In ms: between the settings that help images of type 0 (30 ms) or type 1
#: (25 ms), and the one that helps both (45 ms).
BUDGET = 36.
PLAN = TrainingPlan(
    controller=dict(hidden=32), updates=30, images=50,
    train_budgets=[20., BUDGET, 50.], folds=0,
    overhead_ms=0.3,
    algorithm=dict(type='mmrlkd.GRPO', group_size=8, lr=2e-2, epochs=1,
                   minibatches=1),
    exact=dict(lr=2e-2, replay=1, steps=1, batch_size=None, entropy_coef=0.01))


@pytest.fixture(scope='module')
def results():
    return {}


@pytest.fixture
def rows(profile, results):
    """The comparison of 5 seeds, trained once for all tests."""
    if not results:
        found = []
        for seed in range(5):
            training, held_out = split(profile, PLAN.held_out, seed)
            trained = train_controllers(training, PLAN, seed)
            found += [dict(seed=seed, **row) for row in compare(
                trained, training, held_out, PLAN, [BUDGET])[0]]
        results['rows'] = pd.DataFrame(found)
    return results['rows']


@pytest.mark.parametrize('other', [STATIC, BOUNDED, MIXED, RANDOM])
def test_a_controller_is_above_what_sees_no_image(rows, other):
    """By construction: one setting helps one type only, and a controller sees
    the type. For 0.1 and more at the lower end of the interval."""
    for name in ('GRPO', EXACT):
        above = paired(rows, name, other, PLAN.held_out).loc[BUDGET]
        assert above['mean'] - above['half_width'] > 0.1, name


def test_a_controller_is_nearly_as_good_as_the_oracle(rows):
    for name in ('GRPO', EXACT):
        below = paired(rows, ORACLE, name, PLAN.held_out).loc[BUDGET, 'mean']
        assert 0 <= below < 0.05


def test_budgets_are_kept(rows):
    assert rows[rows.method.isin(['GRPO', EXACT, ORACLE])].within.min() > 0.95
    assert (rows[rows.method == 'GRPO'].infeasible == 0).all()


def test_a_warm_start_knows_what_an_image_needs(profile):
    plan = TrainingPlan(**{**vars(PLAN), 'updates': 1, 'algorithm': dict(
        type='mmrlkd.REINFORCE', lr=1e-6)})
    training, held_out = split(profile, 0.5, 0)
    trained = train_controllers(training, plan, 0)
    assert list(trained.controllers) == [WARM_START, EXACT, 'REINFORCE']
    rows = pd.DataFrame(compare(trained, training, held_out, plan, [BUDGET])[0])
    quality = rows.set_index('method').quality
    assert quality[ORACLE] - quality[WARM_START] < 0.05
    # The others start from its weights.
    assert abs(quality['REINFORCE'] - quality[WARM_START]) < 0.02


def blind_to(profile, features):
    """The table with these features (N, F), and no others."""
    return replace(profile, features=features)


@pytest.mark.parametrize('told', [True, False])
def test_a_controller_looks_where_images_tell_what_they_need(profile, told):
    """At 36 ms one of two settings helps, by the type of an image; at 12 ms, one is
    all that fits. Of noise, looking pays nowhere, or next to."""
    table = profile if told else blind_to(profile, torch.randn(
        200, 4, generator=torch.Generator().manual_seed(0)))
    plan = TrainingPlan(**{**vars(PLAN), 'folds': 2})
    training, held_out = split(table, 0.5, 0)
    trained = train_controllers(training, plan, 0)
    rows = pd.DataFrame(compare(
        trained, training, held_out, plan, [12., BUDGET])[0])
    found = rows[rows.method == 'GRPO'].set_index('budget')
    bounded = rows[rows.method == BOUNDED].set_index('budget')
    assert found.looked[12.] == 0
    for column in ('quality', 'latency_ms', 'within'):
        assert found[column][12.] == bounded[column][12.]
    if told:
        assert found.looked[BUDGET] == 1
        assert found.quality[BUDGET] > bounded.quality[BUDGET] + 0.1
    else:
        assert trained.blind.looks.float().mean() < 0.3


def test_of_images_that_tell_nothing_training_starts_from_the_best_on_average(
        profile):
    """Before any step, a controller chooses the best setting for all images."""
    profile = blind_to(profile, torch.zeros(200, 4))
    plan = TrainingPlan(**{**vars(PLAN), 'updates': 1, 'algorithm': dict(
        type='mmrlkd.REINFORCE', lr=1e-6)})
    table = replace(profile, quality=profile.quality + torch.tensor(
        [0., .01, .02, .03, .05, -.1]))
    trained = train_controllers(table, plan, 0)
    controller = deployed(trained, 'REINFORCE', table, plan)
    worth = table.quality.mean(0)
    for budget in (15., 28., BUDGET, 60.):
        allowed = controller.allowed(table.features[:1], budget)[0]
        best = worth.masked_fill(~allowed, -math.inf).argmax()
        chosen = controller.choose(table.features, None, budget)
        assert (chosen == best).all()


def test_a_seed_says_all(profile):
    plan = TrainingPlan(**{**vars(PLAN), 'updates': 3})
    torch.manual_seed(5)
    one = train_controllers(profile, plan, 1).controllers['GRPO'].state_dict()
    state = torch.random.get_rng_state()
    two = train_controllers(profile, plan, 1).controllers['GRPO'].state_dict()
    other = train_controllers(profile, plan, 2).controllers['GRPO'].state_dict()
    assert all(one[key].equal(two[key]) for key in one)
    assert not all(one[key].equal(other[key]) for key in one)
    assert torch.random.get_rng_state().equal(state)  # the caller's is its own


def test_updates_see_images_with_noise(profile):
    task = BudgetTask(profile, LatencyModel.fit(profile), BudgetReward(), 0.5)
    for noise in (0., 0.7):
        draw = Draw(task, TrainingPlan(noise=noise, images=200, train_budgets=20))
        torch.manual_seed(0)
        decisions = draw()
        added = decisions.observation.features - profile.features[decisions.image]
        torch.testing.assert_close(
            added.std(0), noise * profile.features.std(0), rtol=0.05, atol=0)
        # What fits is known by what was measured, without noise.
        clean = task.decisions(decisions.image, decisions.observation.budget)
        assert decisions.observation.action_mask.equal(
            clean.observation.action_mask)
        assert decisions.reward.equal(clean.reward)


def as_log(rows, seed=0):
    """What a policy that prefers the dearest setting would have logged."""
    chances = torch.tensor([.1, .1, .1, .1, .1, .5])
    draw = torch.Generator().manual_seed(seed)
    images = len(rows) // 6
    chosen = chances.multinomial(images, replacement=True, generator=draw)
    feature = {row['image']: row['feature'] for row in rows if row['feature']}
    return [{**row, 'propensity': chances[k % 6].item(),
             'feature': feature[row['image']]}
            for k, row in enumerate(rows) if k % 6 == chosen[row['image']]]


def test_a_controller_learns_from_a_log(write_profile, profile_rows, profile):
    path = write_profile(as_log(profile_rows(1500, seed=1)), 'log')
    log = ProfileTable.read(path, 'log')
    plan = TrainingPlan(**{
        **vars(PLAN), 'images': 1500, 'updates': 60, 'logged': dict(lr=2e-2)})
    training, held_out = split(log, 0.3, 0)
    trained = train_controllers(training, plan, 0)
    assert list(trained.controllers) == ['logged']
    controller = deployed(trained, 'logged', training, plan)
    # Judged by a complete table of other images.
    found = pd.DataFrame(compare(trained, profile, profile, plan, [BUDGET])[0])
    quality = found.set_index('method').quality
    assert quality[ORACLE] - quality['logged'] < 0.05
    assert quality['logged'] - quality[STATIC] > 0.2
    # The log's own estimate, of what was chosen by chance, is near the truth.
    estimated = estimate(controller, held_out, BUDGET)
    assert estimated['quality'] == pytest.approx(quality['logged'], abs=0.05)
    assert estimated['latency_ms'] == pytest.approx(
        found.set_index('method').latency_ms['logged'], abs=1.)
    assert 0.05 < estimated['matched'] < 0.2


def test_an_estimate_weighs_by_propensities(write_profile, profile_rows):
    rows = as_log(profile_rows(80))
    table = ProfileTable.read(write_profile(rows, 'log'), 'log')
    plan = TrainingPlan(**{**vars(PLAN), 'updates': 1,
                           'latency': dict(quantile=0.4)})
    controller = deployed(
        train_controllers(table, plan, 0), 'logged', table, plan)
    chosen = controller.choose(table.features, None, BUDGET).tolist()
    total = sums = 0.
    for row in rows:
        if table.measured[row['image'], chosen[row['image']]]:
            total += 1 / row['propensity']
            sums += row['quality'] / row['propensity']
    found = estimate(controller, table, BUDGET)
    assert found['quality'] == pytest.approx(sums / total)
    # What looking adds is part of a run's time.
    looked = replace(table, header=replace(
        table.header, feature={**table.header.feature, 'ms': 2.}))
    assert estimate(controller, looked, BUDGET)['latency_ms'] == pytest.approx(
        found['latency_ms'] + 2.)


# -- the plan ------------------------------------------------------------------


def test_budgets_are_drawn_over_the_range_or_listed():
    torch.manual_seed(0)
    drawn = drawn_budgets(TrainingPlan(train_budgets=50), (10., 1000.), 40)
    assert drawn.shape == (40, 50)
    assert 10 <= drawn.min() < 11 and 900 < drawn.max() <= 1000
    # Log-uniform: half of them are below the geometric mean.
    assert (drawn < 100).float().mean() == pytest.approx(0.5, abs=0.05)
    listed = drawn_budgets(TrainingPlan(train_budgets=[20, 30.]), (10., 1000.), 3)
    assert listed.tolist() == [[20., 30.]] * 3


def test_compared_budgets_divide_the_range(profile):
    assert compared_budgets(TrainingPlan(test_budgets=2), (10., 1000.)) == [
        100., 1000.]
    assert compared_budgets(TrainingPlan(test_budgets=[30., 20]), (1., 2.)) == [
        20., 30.]
    low, high = budget_range(profile, 0.5)
    # A fifth more than what the dearest setting takes.
    assert 10.5 < low < 11.5 and 45.5 < high / 1.2 < 49


@pytest.mark.parametrize(('section', 'message'), [
    (dict(updatess=3), r"budget has \['updatess'\]; accepted: knobs, .*updates"),
    (dict(updates=0), 'budget: updates=0; accepted: an integer >= 1'),
    (dict(noise=-1.), 'budget: noise=-1.0; accepted: a number >= 0'),
    (dict(held_out=1.), 'budget: held_out=1.0'),
    (dict(train_budgets=[]), r'budget: train_budgets=\[\]; accepted'),
    (dict(test_budgets=[0.]), 'budget: test_budgets=0.0; accepted'),
    (dict(prior=-1.), 'budget: prior=-1.0; accepted'),
    (dict(folds=1), 'budget: folds=1; accepted: 0, or 2 and more'),
    (dict(reward=dict(accuracy=1.)), "budget.reward: .*'accuracy'; accepted: quality"),
])
def test_impossible_plans_are_errors(section, message):
    with pytest.raises(ValueError, match=message):
        TrainingPlan.of(section)


def test_a_plan_is_part_of_a_config_that_says_more():
    plan = TrainingPlan.of(dict(
        knobs=[dict(type='mmrlkd.InputScale')], feature={}, updates=7,
        reward=dict(latency=0.)))
    assert (plan.updates, plan.reward) == (7, dict(latency=0.))


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(controller=dict(width=3)), 'budget.controller: .*accepted: hidden, bins'),
    (dict(algorithm=dict(lr=1.)), r"budget: algorithm=\{'lr': 1.0\}; accepted: dict"),
    (dict(algorithm=dict(type='mmrlkd.PPO')), 'PPO learns a critic'),
    (dict(latency=dict(quantile=1.)), 'budget.latency: quantile=1.0'),
])
def test_what_cannot_be_trained_is_an_error(profile, changes, message):
    plan = TrainingPlan(**{**vars(PLAN), 'updates': 1, **changes})
    with pytest.raises(ValueError, match=message):
        train_controllers(profile, plan, 0)


# -- seeds ---------------------------------------------------------------------


def test_seeds_hold_out_other_images(profile):
    held_out = [split(profile, 0.25, seed)[1].images for seed in (0, 1, 0)]
    assert held_out[0] == held_out[2] != held_out[1]
    training, rest = split(profile, 0.25, 0)
    assert len(rest) == 50
    assert set(training.images) | set(rest.images) == set(profile.images)
    with pytest.raises(ValueError, match='budget.held_out=0.001 of 200 images'):
        split(profile, 0.001, 0)


def test_intervals_allow_for_images_that_seeds_share():
    """Nadeau & Bengio's t-interval: the variance counts 1/5 + 1 instead of 1/5
    where half of the images are held out."""
    values = pd.Series([1., 2., 3., 4., 5.])
    found = interval(values, 0.5)
    assert found['mean'] == 3
    assert found['half_width'] == pytest.approx(
        2.776445 * math.sqrt(2.5) * math.sqrt(1.2), rel=1e-5)
    assert math.isnan(interval(values[:1], 0.5)['half_width'])
