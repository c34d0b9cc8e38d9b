"""Controllers as the runtime uses them: choices, checkpoints, ONNX."""

import copy
import math

import onnx
import pytest
import torch

from mmrlkd.dynamic.blind import BlindRule
from mmrlkd.dynamic.controller import Controller
from mmrlkd.dynamic.deployed import (
    ControllerHeader,
    LoadedController,
    load_controller,
    save_controller,
)
from mmrlkd.dynamic.export import export
from mmrlkd.dynamic.latency import LatencyModel


def deployed(table, context=0):
    """One with random weights that say different things of different images."""
    torch.manual_seed(1)
    controller = Controller(4, table.space.sizes, context, hidden=16)
    for parameter in controller.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    controller.calibrate(table.features, table.context, 10., 50., 45.)
    header = ControllerHeader.of(
        table.header, feature_dim=4, context_dim=context, overhead_ms=0.5,
        budgets=(10., 50.))
    blind = BlindRule(torch.arange(6.), torch.tensor([20., 40.]),
                      torch.tensor([False, True]))
    return LoadedController(
        header, LatencyModel.fit(table), controller.eval(), blind)


@pytest.fixture
def with_context(profile):
    table = copy.copy(profile)
    object.__setattr__(table, 'context', torch.randn(
        len(table), 3, generator=torch.Generator().manual_seed(0)))
    return table


def test_the_choice_is_the_most_probable_setting_that_fits(profile):
    controller = deployed(profile)
    budgets = torch.linspace(5, 60, len(profile))
    chosen = controller.choose(profile.features, None, budgets)
    fits = controller.predicted_ms(profile.features) <= budgets[:, None]
    scores = controller.scores(profile.features, None, budgets)
    feasible = fits.any(1)
    assert feasible.equal(controller.feasible(profile.features, budgets))
    assert not feasible.all()
    assert len(chosen.unique()) > 2
    best = scores.masked_fill(~fits, -math.inf).argmax(1)
    assert chosen[feasible].equal(best[feasible])
    assert (chosen[~feasible] == 0).all()  # the cheapest


def test_it_looks_where_looking_pays_and_leaves_a_choice(profile):
    controller = deployed(profile)
    unseen = controller.latency.marginal.sort().values
    two = unseen[1].item() + controller.overhead_ms
    # Looking pays from 28.3 ms on, the geometric mean of 20 and 40.
    assert controller.looks(torch.tensor([20., 28., 29., 1e3])).tolist() == [
        False, False, True, True]
    always = controller.looking()
    assert always.looks(torch.tensor([two - 1e-2, two + 1e-2])).tolist() == [
        False, True]
    assert always.looking() is always
    # A slower machine has as much choice in more time.
    slow = controller.adjusted(time_scale=2.)
    assert slow.looks(torch.tensor([40., 56., 58., 2e3])).tolist() == [
        False, False, True, True]


def test_without_looking_the_most_valuable_setting_that_fits_is_chosen(profile):
    controller = deployed(profile)
    bounds = controller.latency.marginal
    choice = controller.unseen(torch.cat([bounds + 1e-3, torch.tensor([1.])]))
    for s, chosen in enumerate(choice.settings[:-1]):
        fitting = bounds <= bounds[s] + 1e-3
        assert chosen == fitting.nonzero().max()  # later ones are of more value
        assert choice.predicted_ms[s] == bounds[chosen]
    assert choice.feasible.tolist() == [True] * 6 + [False]
    assert choice.settings[-1] == bounds.argmin()


def test_one_number_is_the_budget_of_all(profile):
    controller = deployed(profile)
    one = controller.choose(profile.features, None, 36.)
    each = controller.choose(
        profile.features, None, torch.full((len(profile), ), 36.))
    assert one.equal(each)
    assert controller.allowed(profile.features, math.inf).all()


def test_a_network_that_overflowed_keeps_the_budget(profile):
    controller = deployed(profile)
    torch.nn.init.constant_(controller.controller.heads.weight, math.nan)
    chosen = controller.choose(profile.features, None, 36.)
    assert controller.allowed(profile.features, 36.).gather(
        1, chosen[:, None]).all()


@pytest.mark.parametrize('ridge', [None, 1e-3])
def test_what_is_kept_of_budgets_changes_no_choice(profile, tmp_path, ridge):
    """Every image with every budget, alone and again, against all at once."""
    controller = deployed(profile)
    controller.latency = LatencyModel.fit(profile, 0.9, ridge)
    export(controller, profile, tmp_path / 'c.onnx', True)
    images = profile.features[:8]
    for each in (controller, load_controller(tmp_path / 'c.onnx')):
        # The same budget is another one on a slower machine.
        for runtime in (each, each.adjusted(time_scale=1.5)):
            budgets = torch.linspace(12, 70, 12).tolist()
            fresh = runtime.adjusted()
            expected = torch.stack([
                fresh.choose(images, None, torch.full((8, ), budget))
                for budget in budgets])
            for _ in range(2):
                assert torch.stack([
                    torch.cat([runtime.choose(images[i:i + 1], None, budget)
                               for i in range(8)])
                    for budget in budgets]).equal(expected)
            # What is chosen is what the mask and the scores say.
            for budget, chosen in zip(budgets, expected):
                scores = runtime.scores(images, None, torch.full(
                    (8, ), budget / runtime.time_scale))
                assert chosen.equal(scores.masked_fill(
                    ~runtime.allowed(images, budget), -math.inf).argmax(1))
            assert len(expected.unique()) > 2


@pytest.mark.parametrize(('budget', 'shown'), [
    (0., '0.0'), (-3., '-3.0'), (math.nan, 'nan')])
def test_bad_budgets_are_errors(profile, budget, shown):
    with pytest.raises(ValueError, match=(
            f'controller: budget_ms={shown}; accepted: a number of ms > 0')):
        deployed(profile).choose(profile.features, None, budget)


def test_other_inputs_are_errors(profile, with_context):
    with pytest.raises(ValueError, match=r'features.shape=\(2, 5\); .*\(B, 4\)'):
        deployed(profile).choose(torch.zeros(2, 5), None, 30.)
    with pytest.raises(ValueError, match=r'context=None; accepted: \(B, 3\)'):
        deployed(with_context, 3).choose(torch.zeros(2, 4), None, 30.)
    with pytest.raises(ValueError, match=(
            r'len\(budget_ms\)=3; accepted: one number, or one for each of 2')):
        deployed(profile).choose(torch.zeros(2, 4), None, [30., 30., 30.])


def test_a_slower_machine_scales_latencies_and_not_the_decision(profile):
    controller = deployed(profile)
    slow = controller.adjusted(overhead_ms=1., time_scale=2.)
    torch.testing.assert_close(
        slow.predicted_ms(profile.features) - 1,
        2 * (controller.predicted_ms(profile.features) - 0.5))
    # Twice the time and twice the budget are the same choice.
    budgets = torch.linspace(5, 60, len(profile))
    assert slow.choose(profile.features, None, 2 * budgets).equal(
        controller.adjusted(overhead_ms=0.5).choose(
            profile.features, None, budgets))
    assert slow.lowest_ms == pytest.approx(2 * controller.lowest_ms)
    assert controller.time_scale == 1


def test_a_checkpoint_is_the_same_controller(profile, tmp_path):
    controller = deployed(profile)
    path = tmp_path / 'controller.pth'
    save_controller(path, controller)
    torch.load(path, weights_only=True)
    again = load_controller(path)
    budgets = torch.linspace(5, 60, len(profile))
    assert again.scores(profile.features, None, budgets).equal(
        controller.scores(profile.features, None, budgets))
    assert again.predicted_ms(profile.features).equal(
        controller.predicted_ms(profile.features))
    assert again.looks(budgets).tolist() == controller.looks(budgets).tolist()
    assert again.unseen(budgets).settings.tolist() == (
        controller.unseen(budgets).settings.tolist())
    assert again.space.header() == profile.space.header()
    assert again.header == controller.header


def test_other_files_are_no_controllers(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'model.pth')
    (tmp_path / 'text.onnx').write_text('x')
    for name in ('model.pth', 'text.onnx'):
        with pytest.raises(ValueError, match=f'{name}.* is no controller'):
            load_controller(tmp_path / name)
    with pytest.raises(ValueError, match='is not a file'):
        load_controller(tmp_path / 'none.pth')


def test_onnx_files_of_another_format_are_refused(profile, tmp_path):
    path = tmp_path / 'c.onnx'
    export(deployed(profile), profile, path, False)
    model = onnx.load(path)
    entry = model.metadata_props[0]
    entry.value = entry.value.replace('"version": 3', '"version": 2')
    onnx.save(model, path)
    with pytest.raises(ValueError, match='no controller .*version 3.*export.py'):
        load_controller(path)


@pytest.mark.parametrize(('int8', 'context'), [(False, 0), (True, 3)])
def test_onnx_files_choose_alike(with_context, profile, tmp_path, int8, context):
    table = with_context if context else profile
    controller = deployed(table, context)
    agreement = export(controller, table, tmp_path / 'c.onnx', int8)
    other = load_controller(tmp_path / 'c.onnx')
    assert other.agreement == agreement
    assert agreement.pairs == 5 * len(table)
    assert agreement.same_setting > (0.9 if int8 else 0.999)
    assert (agreement.score_error > 1e-3) == int8
    weights = [each for each in onnx.load(tmp_path / 'c.onnx').graph.initializer
               if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 2]
    # Two layers, the heads and the linear layer.
    assert len(weights) == (4 if int8 else 0)
    given = table.context if context else None
    budgets = torch.linspace(5, 60, len(table))
    chosen = other.choose(table.features, given, budgets)
    # The latency model is not quantised, so neither is the mask.
    assert other.allowed(table.features, budgets).equal(
        controller.allowed(table.features, budgets))
    assert other.allowed(table.features, budgets).gather(
        1, chosen[:, None]).all()
    same = chosen == controller.choose(table.features, given, budgets)
    assert same.float().mean() > (0.9 if int8 else 0.99)
    # An image's choice does not depend on the batch that it is in.
    alone = torch.cat([other.choose(
        table.features[i:i + 1], None if given is None else given[i:i + 1],
        budgets[i:i + 1]) for i in range(20)])
    assert alone.equal(chosen[:20])
