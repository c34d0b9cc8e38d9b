"""The shared checks of arguments and the one form of their sentences."""

import math

import pytest

from mmrlkd.arguments import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
)


@pytest.mark.parametrize(('value', 'bounds', 'accepted'), [
    (0, dict(low=0, open='low'), 'a number > 0'),
    (-1, dict(low=0), 'a number >= 0'),
    (1.0, dict(low=0, high=1, open='high'), 'a number in [0, 1)'),
    (0, dict(low=0, high=1, open='both'), 'a number in (0, 1)'),
    (2, dict(high=1), 'a number <= 1'),
    (math.nan, {}, 'a finite number'),
    (math.inf, dict(low=0), 'a number >= 0'),
    ('0.5', dict(low=0), 'a number >= 0'),
    (None, dict(low=0), 'a number >= 0'),
    (True, dict(low=0), 'a number >= 0'),
])
def test_a_number_out_of_bounds_is_refused_with_what_is_accepted(
        value, bounds, accepted):
    with pytest.raises(ValueError) as error:
        check_number('CWDLoss', 'tau', value, **bounds)
    assert str(error.value) == f'CWDLoss: tau={value!r}; accepted: {accepted}.'


def test_a_number_on_a_closed_bound_is_returned_as_it_is():
    assert check_number('A', 'x', 0, low=0, high=1, open='high') == 0
    assert check_number('A', 'x', 1, low=0, high=1, open='low') == 1


@pytest.mark.parametrize('value', [0, 1.0, True, '1', None])
def test_what_is_not_an_integer_in_bounds_is_refused(value):
    with pytest.raises(ValueError) as error:
        check_integer('PPO', 'epochs', value, low=1)
    assert str(error.value) == (
        f'PPO: epochs={value!r}; accepted: an integer >= 1.')


def test_a_number_is_refused_as_a_bool():
    assert check_bool('A', 'x', False) is False
    with pytest.raises(ValueError, match='A: x=1; accepted: True or False.'):
        check_bool('A', 'x', 1)


def test_a_choice_names_the_choices():
    with pytest.raises(
            ValueError, match="A: x='c'; accepted: 'a', 'b'."):
        check_choice('A', 'x', 'c', ('a', 'b'))
