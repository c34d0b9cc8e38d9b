"""DARTS and GDAS over subsets, on made-up effects of the levels."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from mmrlkd.rl import subset_table

NAMES = ['DARTSSelector', 'GDASSelector']
TABLE = subset_table(4, torch.device('cpu'))


class Effects:
    """Signals of one kind: the effect of each level."""

    def __init__(self, *effects):
        self.effects = torch.tensor(effects)
        self.orders = []

    def step_effect(self, order):
        self.orders.append(order)
        return self.effects.clone()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def play(start):
    """Iterations of a search; what the last step of α reported."""

    def play(selector, steps, effects):
        for step in range(steps):
            selector.set_progress(step / steps)
            choice = selector.select(start(selector, torch.zeros(2, 5)))
            selector.observe(effects(step), choice)
            report = selector.learn()
        return report

    return play


def test_weights_are_the_mixtures(build, make_space, start):
    selector = build('DARTSSelector', make_space()).train()
    selector.alpha.data = torch.randn(16)
    probs = selector.alpha[1:].softmax(0)
    share = TABLE[1:] / TABLE[1:].sum(-1, keepdim=True)
    found = selector.select(start(selector, torch.zeros(3, 5))).selection
    assert found.levels.all() and found.levels.device.type == 'cpu'
    torch.testing.assert_close(found.weights, (probs @ share).expand(3, 4))


@pytest.mark.parametrize('budget, subsets', [(1, 2), (2, 4), (3, 6), (7.5, 15)])
def test_budgets_mask_subsets(build, make_space, start, name, budget, subsets):
    selector = build(name, make_space(budget=budget)).train()
    selector.alpha.data = torch.randn(16) + torch.arange(16)  # dear ones first
    assert (selector.distribution().probs > 0).sum() == subsets
    costs = torch.tensor(selector.space.costs)
    held = selector.select(start(selector, torch.zeros(3, 5))).selection.levels
    if name == 'GDASSelector':
        assert ((held * costs).sum(-1) <= budget).all()
    else:  # the levels of any affordable subset
        assert held[0].tolist() == (costs <= budget).tolist()
    found = selector.eval().select(start(selector, torch.zeros(3, 5))).selection.levels
    assert ((found * costs).sum(-1) <= budget).all()
    assert selector.best_levels() == tuple(
        level for level, on in zip(selector.space.names, found[0]) if on)


def test_equal_logits_have_the_entropy_of_fifteen(build, make_space, name):
    report = build(name, make_space()).report()
    assert report['search.entropy'].item() == pytest.approx(math.log(15))
    for level in 'P2', 'P3', 'P4', 'P5':
        assert report[f'search.{level}'].item() == pytest.approx(8 / 15)


# -- one step of α ---------------------------------------------------------------


def test_darts_steps_along_the_gradient(build, make_space, play):
    selector = build('DARTSSelector', make_space(), efficiency=0.3).train()
    selector.alpha.data = torch.randn(16)
    effects = torch.tensor([0.5, -1.0, 2.0, 0.1])
    alpha = selector.alpha.detach().clone().requires_grad_()
    probs = alpha[1:].softmax(0)
    share = TABLE[1:] / 4
    costs = (TABLE[1:] * torch.tensor(selector.space.costs)).sum(-1) / 7.5
    (probs @ share @ effects / effects.abs().mean()
     + 0.3 * (probs @ costs)).backward()
    play(selector, 1, lambda _: Effects(*effects.tolist()))
    torch.testing.assert_close(selector.alpha.grad, alpha.grad)


@pytest.mark.parametrize('tau', [10.0, 1.0, 0.1])
def test_gdas_is_one_hot_forward_and_soft_backward(
        build, make_space, start, tau):
    selector = build('GDASSelector', make_space(budget=3), tau=(tau, tau)).train()
    selector.alpha.data = torch.randn(16)
    choice = selector.select(start(selector, torch.zeros(3, 5)))
    found, mixture = choice.selection, selector.mixture(choice.noise)
    assert sorted(mixture.tolist()) == [0.0] * 15 + [1.0]
    assert found.levels[0].equal(TABLE[mixture.argmax()])
    assert found.levels.equal(found.levels[:1].expand(3, 4))

    values = torch.randn(16)
    (mixture @ values).backward()
    alpha = selector.alpha.detach().clone().requires_grad_()
    feasible = selector.distribution().mask
    relaxed = ((alpha + choice.noise) / tau)[feasible].softmax(0)
    (relaxed @ values[feasible]).backward()
    torch.testing.assert_close(selector.alpha.grad, alpha.grad)
    assert (alpha.grad[feasible] != 0).all()


@pytest.mark.parametrize('tau', [10.0, 0.1])
def test_gdas_draws_as_often_as_softmax_says(build, make_space, start, tau):
    """Pearson's χ² of 3000 draws; 14 degrees of freedom, 99.9 % below 36.1."""
    selector = build('GDASSelector', make_space(), tau=(tau, tau)).train()
    selector.alpha.data = torch.randn(16)
    counts = torch.zeros(16)
    bits = 2**torch.arange(4)
    with torch.no_grad():
        for _ in range(3000):
            levels, _ = selector.train_levels(selector.draw())
            counts[(levels * bits).sum()] += 1
    expected = 3000 * selector.distribution().probs.detach()
    assert counts[0] == 0
    chi = ((counts - expected)**2 / expected.clamp(min=1e-9))[1:].sum()
    assert chi < 36.1


def test_the_temperature_falls(build, make_space):
    selector = build('GDASSelector', make_space())
    seen = []
    for fraction in (0, 0.5, 1):
        selector.set_progress(fraction)
        seen.append(selector.tau)
    assert seen == pytest.approx([10, 5.05, 0.1])


@pytest.mark.parametrize('order', [1, 2])
def test_the_order_is_what_is_asked(build, make_space, play, order):
    selector = build('DARTSSelector', make_space(), order=order).train()
    asked = Effects(1., 1., 1., 1.)
    play(selector, 3, lambda _: asked)
    assert asked.orders == [order] * 3


def test_the_unit_is_a_mean_effect(build, make_space, play, name):
    """A loss a thousand times as large changes nothing, λ included."""
    effects, alphas = torch.randn(20, 4), []
    for unit in effects, 1000 * effects:
        torch.manual_seed(0)
        selector = build(name, make_space(), lr=0.1).train()
        rows = iter(unit.tolist())
        play(selector, 20, lambda _, rows=rows: Effects(*next(rows)))
        alphas.append(selector.alpha.detach())
    torch.testing.assert_close(*alphas, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_what_is_not_finite_is_skipped(build, make_space, play, name, bad):
    selector = build(name, make_space()).train()
    play(selector, 3, lambda _: Effects(1., -1., 0.5, 2.))
    before = selector.alpha.detach().clone(), selector._scale.clone()
    report = play(selector, 2, lambda _: Effects(bad, 1., 1., 1.))
    assert report.skipped_steps == selector.skipped == 2
    assert torch.equal(selector.alpha, before[0])
    assert torch.equal(selector._scale, before[1])
    play(selector, 1, lambda _: Effects(1., -1., 0.5, 2.))
    assert selector.alpha.isfinite().all() and selector.skipped == 2


def test_a_resumed_search_goes_on_bit_for_bit(build, make_space, play, name):
    def effects(step):
        return Effects(*torch.randn(4).tolist())

    one = build(name, make_space(), lr=0.1).train()
    play(one, 5, effects)
    two = build(name, make_space(), lr=0.1).train()
    two.load_run_state(copy.deepcopy(one.run_state()))
    for selector in one, two:
        torch.manual_seed(3)
        play(selector, 5, effects)
    assert torch.equal(one.alpha, two.alpha)
    assert torch.equal(one._scale, two._scale)


# -- what is found ---------------------------------------------------------------


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_the_level_that_helps_is_found(build, make_space, play, name, seed):
    """P3 lowers the held-out loss, P4 raises it, two do nothing; one batch
    says so with noise three times as large."""
    torch.manual_seed(seed)
    selector = build(name, make_space(), lr=0.05, efficiency=0.).train()
    mean = torch.tensor([0., -1., 1., 0.])
    play(selector, 400, lambda _: Effects(
        *(mean + 3 * torch.randn(4)).tolist()))
    assert 'P3' in selector.best_levels()
    assert 'P4' not in selector.best_levels()
    report = selector.report()
    assert report['search.P3'] > 0.7 > 0.3 > report['search.P4']


def test_all_that_helps_is_kept_where_nothing_costs(
        build, make_space, play, name):
    """Minimising Σ w_i ℓ_i would drive every w to the smallest loss or to
    zero. What counts here is the effect, and effects add up."""
    for effects in (-1., -1., -1., -1.), (-4., -1., -1., -1.):
        selector = build(name, make_space(), lr=0.05, efficiency=0.).train()
        play(selector, 300, lambda _, e=effects: Effects(*e))
        assert selector.best_levels() == ('P2', 'P3', 'P4', 'P5')


@pytest.mark.parametrize('normalize', ['image', 'none'])
def test_two_levels_that_help_alike_are_both_kept(
        build, make_space, play, name, normalize):
    """A mean of effects would be the same for P3, P4 and both, and the cost
    would leave the cheaper one. What does not help is dropped."""
    space = replace(make_space(), normalize=normalize)
    selector = build(name, space, lr=0.05, efficiency=0.1).train()
    play(selector, 400, lambda _: Effects(0., -1., -1., 0.))
    assert selector.best_levels() == ('P3', 'P4')


def test_nothing_is_an_answer_where_images_may_be_left_out(
        build, make_space, play, name):
    for least, best in (0, ()), (1, ('P5', )):
        selector = build(name, replace(make_space(), min_levels=least),
                         lr=0.05, efficiency=2.).train()
        play(selector, 300, lambda _: Effects(1., 1., 1., 1.))
        assert selector.best_levels() == best


def test_the_cost_alone_finds_the_cheapest(build, make_space, play, name):
    selector = build(name, make_space(), lr=0.05, efficiency=1.).train()
    play(selector, 300, lambda _: Effects(0., 0., 0., 0.))
    assert selector.best_levels() == ('P5', )


def test_efficiency_weighs_the_two(build, make_space, play):
    """Of Σ|e|, P2 is 0.4 and the others 0.2 each; of the cost 0.53, 0.27,
    0.13 and 0.07. A level pays if its effect is λ times its cost."""
    found = []
    for efficiency in (0.5, 0.85, 1.2, 20.):
        selector = build('DARTSSelector', make_space(), lr=0.05,
                         efficiency=efficiency).train()
        play(selector, 800, lambda _: Effects(-2., -1., -1., -1.))
        found.append(selector.best_levels())
    assert found == [('P2', 'P3', 'P4', 'P5'), ('P4', 'P5'), ('P4', 'P5'),
                     ('P5', )]


@pytest.mark.parametrize('selector, arguments, sentence', [
    ('DARTSSelector', dict(order=0), 'order=0; accepted: 1, 2'),
    ('DARTSSelector', dict(lr=0), 'lr=0; accepted: a number > 0'),
    ('DARTSSelector', dict(efficiency=-1), 'efficiency=-1; accepted: a number >= 0'),
    ('GDASSelector', dict(weight_decay=math.nan), 'weight_decay=nan'),
    ('GDASSelector', dict(betas=(0.5, 1.0)),
     r'betas\[1\]=1.0; accepted: a number in \[0, 1\)'),
    ('GDASSelector', dict(tau=(0.1, 10)), 'tau=.*; accepted: two temperatures'),
    ('GDASSelector', dict(tau=(1, 0)), 'tau=.*; accepted: two temperatures'),
])
def test_bad_arguments(build, make_space, selector, arguments, sentence):
    with pytest.raises(ValueError, match=f'{selector}: {sentence}'):
        build(selector, make_space(), **arguments)
