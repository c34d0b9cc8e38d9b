"""Levels, losses and signals for selectors to play with."""

from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace

COSTS = {1: (2., ), 2: (2., 1.), 4: (4., 2., 1., .5),
         6: (3., 2., 2., 1., 1., 1.)}


class FixedLosses:
    """The same losses (B, L) whoever asks; remembers what was asked."""

    def __init__(self, losses):
        self.losses = losses
        self.asked = []

    def compute(self, levels):
        self.asked.append(levels.clone())
        return self.losses * levels

    def compute_all(self):
        return self.losses

    def compute_shares(self):
        return self.losses / self.losses.sum(-1).mean()


class FixedSignals:
    """The same numbers (B, L) for every question."""

    def __init__(self, losses):
        self.losses = losses

    def discrepancy(self):
        return self.losses

    def alignment(self):
        return self.losses

    def after_step(self, levels, step):
        return self.losses.sum(-1) - step * self.losses.where(levels, 0.).sum(-1)

    def step_effect(self, order):
        return self.losses.mean(0)

    def describe(self, name):
        return self.losses.sum(1)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_space():
    """A space of so many levels; by default every subset is affordable."""

    def make(levels=4, budget=None):
        costs = COSTS[levels]
        return LevelSpace(
            tuple(f'P{i + 2}' for i in range(levels)), costs,
            budget or sum(costs), (3, ) * levels, 5)

    return make


@pytest.fixture
def start():
    """A fresh process for a selector on made-up features."""

    def start(selector, features, losses=None):
        levels = len(selector.space)
        batch = len(features)
        if losses is None:
            losses = FixedLosses(torch.ones(batch, levels))
        return DecisionProcess(
            selector.space, features, torch.zeros(batch, 3 * levels), losses,
            selector.horizon, features[:, :selector.space.context])

    return start


@pytest.fixture
def build():
    """A selector from its name, bound to a space."""

    def build(name, space, **kwargs):
        selector = SELECTORS.build(dict(type=f'mmrlkd.{name}', **kwargs))
        selector.bind(replace(space, context=len(selector.context)))
        return selector

    return build


@pytest.fixture
def make_signals():
    return FixedSignals


@pytest.fixture
def make_losses():
    return FixedLosses
