"""The same for every image: known weights, and sentences for the rest."""

from dataclasses import replace

import pytest
import torch


def weights(selector, start):
    return selector.select(start(selector, torch.randn(2, 5))).selection.weights


@pytest.mark.parametrize(('name', 'expected'), [
    ('NoneSelector', [0., 0., 0., 0.]),
    ('UniformSelector', [.25, .25, .25, .25]),
    ('ManualDeepSelector', [.1, .2, .3, .4]),
    ('ManualShallowSelector', [.4, .3, .2, .1]),
])
def test_known_weights(build, make_space, start, name, expected):
    found = weights(build(name, make_space()), start)
    torch.testing.assert_close(found, torch.tensor([expected] * 2))


@pytest.mark.parametrize(('kwargs', 'expected'), [
    (dict(levels=['P4']), [0., 0., 1., 0.]),
    (dict(levels=('P5', 'P2')), [.5, 0., 0., .5]),
    (dict(weights=dict(P2=.1, P3=.2, P4=.3, P5=.4)), [.1, .2, .3, .4]),
    (dict(weights=dict(P4=1, P5=3)), [0., 0., .25, .75]),
    (dict(levels=['P5', 'P4'], weights=dict(P4=1, P5=3)), [0., 0., .25, .75]),
])
def test_fixed(build, make_space, start, kwargs, expected):
    selector = build('FixedSelector', make_space(), **kwargs)
    torch.testing.assert_close(
        weights(selector, start), torch.tensor([expected] * 2))


@pytest.mark.parametrize(('name', 'kwargs', 'expected'), [
    ('NoneSelector', {}, [0., 0., 0., 0.]),
    ('UniformSelector', {}, [.25, .25, .25, .25]),
    ('ManualDeepSelector', {}, [.1, .2, .3, .4]),
    ('FixedSelector', dict(levels=['P4']), [0., 0., .25, 0.]),
    ('FixedSelector', dict(levels=['P2', 'P5']), [.25, 0., 0., .25]),
    ('FixedSelector', dict(weights=dict(P4=1, P5=3)), [0., 0., .125, .375]),
])
def test_what_is_not_selected_is_not_made_up_for(
        build, make_space, start, name, kwargs, expected):
    space = replace(make_space(), normalize='none')
    found = weights(build(name, space, **kwargs), start)
    torch.testing.assert_close(found, torch.tensor([expected] * 2))


@pytest.mark.parametrize(('kwargs', 'sentence'), [
    (dict(), 'selects nothing; name at least one level'),
    (dict(levels=[]), 'selects nothing; name at least one level'),
    (dict(levels=['P9', 'P4']), r"the levels \['P9'\], .* \('P2', 'P3'"),
    (dict(weights=dict(P7=1)), r"the levels \['P7'\]"),
    (dict(weights=dict(P2=1, P3=0)), r"weights\['P3'\]=0; accepted: a number > 0"),
    (dict(weights=dict(P2=-1)), r"weights\['P2'\]=-1; accepted: a n"),
    (dict(levels=['P2'], weights=dict(P3=1)), r"a number for each of levels=\['P2"),
])
def test_impossible_fixed_selectors_are_errors(
        build, make_space, kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        build('FixedSelector', make_space(), **kwargs)


@pytest.mark.parametrize(('name', 'kwargs', 'sentence'), [
    ('UniformSelector', {},
     r'UniformSelector distils P2, P3, P4, P5 at a cost of 7.5, but budget=3;'
     r' raise the budget to 7.5 or'),
    ('ManualDeepSelector', {}, 'at a cost of 7.5, but budget=3'),
    ('ManualShallowSelector', {}, 'at a cost of 7.5, but budget=3'),
    ('FixedSelector', dict(levels=['P3', 'P2']),
     'distils P2, P3 at a cost of 6.0, but budget=3'),
])
def test_over_budget_is_an_error(build, make_space, name, kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(name, make_space(budget=3), **kwargs)


def test_exactly_the_budget_is_not(build, make_space):
    build('FixedSelector', make_space(budget=3), levels=['P3', 'P4'])


def test_the_losses_are_never_asked_for(
        build, make_space, start, make_losses):
    """Nothing is played: which levels to compute is known beforehand."""
    losses = make_losses(torch.ones(2, 4))
    selector = build('UniformSelector', make_space())
    selector.select(start(selector, torch.randn(2, 5), losses))
    assert not losses.asked
