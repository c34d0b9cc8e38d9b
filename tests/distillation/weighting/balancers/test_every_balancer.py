"""What holds for every registered balancer."""

import io

import pytest
import torch

from mmrlkd.registry import BALANCERS

BALANCERS.import_from_location()
NAMES = ('P2', 'P3', 'P4', 'P5')
#: Arguments of those that need some.
ARGUMENTS = {
    'FixedBalancer': dict(weights=dict(P2=1, P3=2, P4=3, P5=10)),
}
ALL = sorted(name for name, member in BALANCERS.module_dict.items()
             if member.__module__.startswith('mmrlkd.distillation.weighting.balancers'))
EVERYTHING = torch.ones(4, dtype=torch.bool)
SOME = torch.tensor([True, False, True, True])


@pytest.fixture(params=ALL)
def make(request):
    if request.param == 'TorchJDBalancer':
        pytest.importorskip('torchjd')

    def make():
        balancer = BALANCERS.build(dict(
            type=f'mmrlkd.{request.param}',
            **ARGUMENTS.get(request.param, {})))
        balancer.bind(NAMES)
        return balancer

    return make


def batch(scale=1.0):
    """Rows of lengths three orders apart, some in conflict, and losses."""
    lengths = torch.tensor([1000.0, 1.0, 30.0, 5.0])
    return (scale * lengths[:, None] * torch.randn(4, 3),
            scale * lengths * torch.rand(4))


def state(balancer):
    return {key: value.clone() for key, value in balancer.state_dict().items()}


def assert_same(before, after):
    assert before.keys() == after.keys()
    for key in before:
        assert torch.equal(before[key], after[key]), key


def test_every_registered_balancer_is_tested():
    assert set(ALL) >= {
        'EMABalancer', 'FixedBalancer', 'GradNorm', 'PCGrad',
        'TorchJDBalancer', 'UniformBalancer'}


def test_weights_are_positive_and_sum_to_what_they_should(make):
    balancer = make()
    for i in range(200):
        active = torch.rand(4) < 0.7 if i else EVERYTHING
        weights = balancer.weigh(*batch(), active)
        assert weights.shape == (4, ) and (weights > 0).all()
        if balancer.stateful:
            assert weights.sum().item() == pytest.approx(4, rel=1e-4)
        elif active.any():
            assert weights[active].sum() > active.sum() - 1e-3


def test_an_inactive_level_keeps_its_weight_and_takes_no_part(make):
    one, two = make(), make()
    for _ in range(3):
        rows, losses = batch()
        for balancer in one, two:
            torch.manual_seed(0)  # the same luck for both
            balancer.weigh(rows, losses, EVERYTHING)
    before = one.weights.clone()
    rows, losses = batch()
    garbage = rows.clone(), losses.clone()
    for each in garbage:
        each[1] = torch.nan
    torch.manual_seed(0)
    weights = one.weigh(rows, losses, SOME)
    torch.manual_seed(0)
    assert two.weigh(*garbage, SOME).equal(weights)
    assert weights[1] == before[1]
    assert_same(state(one), state(two))
    if one.stateful:
        torch.testing.assert_close(weights.sum(), torch.tensor(4.0))


def test_a_batch_that_selects_nothing_changes_nothing(make):
    balancer = make()
    balancer.weigh(*batch(), EVERYTHING)
    before = state(balancer)
    balancer.weigh(torch.zeros(4, 3), torch.zeros(4), ~EVERYTHING)
    assert_same(before, state(balancer))


@pytest.mark.parametrize('wrong', [torch.nan, torch.inf])
@pytest.mark.parametrize('where', [0, 1], ids=['rows', 'losses'])
def test_what_is_not_finite_changes_nothing_and_is_counted(
        make, wrong, where):
    balancer = make()
    balancer.weigh(*batch(), EVERYTHING)
    before = state(balancer)
    poisoned = batch()
    poisoned[where].view(4, -1)[2, 0] = wrong
    weights = balancer.weigh(*poisoned, EVERYTHING)
    assert weights.equal(balancer.fallback()) and weights.isfinite().all()
    assert balancer.skipped == 1
    after = state(balancer)
    after['skipped'] -= 1
    assert_same(before, after)


def test_zero_rows_stay_finite(make):
    balancer = make()
    rows, losses = batch()
    rows[1] = 0
    for each in rows, torch.zeros_like(rows):
        assert balancer.weigh(each, losses, EVERYTHING).isfinite().all()
    assert all(value.isfinite().all() for value in state(balancer).values())


@pytest.mark.parametrize('scale', [2.0**-20, 2.0**20])
def test_the_scale_of_the_total_loss_does_not_matter(make, scale):
    one, two = make(), make()
    for _ in range(5):
        rows, losses = batch()
        torch.manual_seed(0)
        weights = one.weigh(rows, losses, EVERYTHING)
        torch.manual_seed(0)
        torch.testing.assert_close(
            two.weigh(scale * rows, scale * losses, EVERYTHING), weights)


def test_levels_are_weighed_by_what_they_are_not_by_where_they_stand(make):
    one, two = make(), make()
    if not one.needs_gradients or not one.stateful:
        pytest.skip('named by the config, or drawn')
    order = torch.tensor([2, 0, 3, 1])
    for _ in range(5):
        rows, losses = batch()
        weights = one.weigh(rows, losses, EVERYTHING)
        torch.testing.assert_close(
            two.weigh(rows[order], losses[order], EVERYTHING), weights[order])


def test_state_survives_a_file_of_plain_tensors(make):
    one, two = make(), make()
    for _ in range(3):
        one.weigh(*batch(), SOME)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two.load_state_dict(torch.load(file, weights_only=True))
    following = batch()
    torch.manual_seed(0)
    expected = one.weigh(*following, EVERYTHING)
    torch.manual_seed(0)
    assert two.weigh(*following, EVERYTHING).equal(expected)
    assert_same(state(one), state(two))


def test_all_numbers_move_with_the_model(make):
    balancer = make().to('meta')
    assert all(t.device.type == 'meta' for t in balancer.state_dict().values())


def test_nothing_waits_for_the_device(make):
    """On the meta device there is no number to wait for."""
    balancer = make()
    if type(balancer).__name__ == 'TorchJDBalancer':
        pytest.skip('solves on the CPU, and says so')
    balancer.to('meta')
    rows, losses, active = (t.to('meta') for t in (*batch(), EVERYTHING))
    assert balancer.weigh(rows, losses, active).shape == (4, )


@pytest.mark.parametrize('config, sentence', [
    (dict(type='mmrlkd.GradNorm', alpha=-1), 'alpha=-1; accepted: a number >='),
    (dict(type='mmrlkd.GradNorm', lr=0), r'lr=0; accepted: a number in \(0'),
    (dict(type='mmrlkd.GradNorm', lr=float('nan')), 'lr=nan'),
    (dict(type='mmrlkd.EMABalancer', decay=1.0), r'decay=1\.0; accepted'),
    (dict(type='mmrlkd.FixedBalancer', weights=dict(P2=0)),
     r"weights\['P2'\]=0; accepted: a number > 0"),
    (dict(type='mmrlkd.FixedBalancer', weights=dict(P2=1, P9=1)),
     r"names \['P2', 'P9'\]; accepted: one number for each of \['P2'"),
])
def test_impossible_arguments_are_refused(config, sentence):
    with pytest.raises(ValueError, match=sentence):
        BALANCERS.build(config).bind(NAMES)


def test_fixed_weights_are_scaled_to_the_number_of_levels():
    balancer = BALANCERS.build(dict(
        type='mmrlkd.FixedBalancer', **ARGUMENTS['FixedBalancer']))
    balancer.bind(NAMES)
    torch.testing.assert_close(
        balancer.fallback(), torch.tensor([0.25, 0.5, 0.75, 2.5]))


@pytest.mark.parametrize('number', [
    1e30, float('inf'), float('nan'), 1e-30])
def test_one_row_out_of_range_leaves_no_trace_in_the_weights(make, number):
    balancer = make()
    rows, losses = batch()
    rows[1] = number
    weights = balancer.weigh(rows, losses, EVERYTHING)
    assert weights.isfinite().all() and (weights > 0).all()
    for _ in range(50):
        weights = balancer.weigh(*batch(), EVERYTHING)
    assert weights.isfinite().all() and (weights > 0).all()
    assert all(value.isfinite().all() for value in state(balancer).values())
