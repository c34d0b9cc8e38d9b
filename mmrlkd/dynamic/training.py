"""Training controllers offline, from a table."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number, refuse
from mmrlkd.registry import LEARNERS
from mmrlkd.rl import Descent, play

from .controller import Controller, ControllerPolicy
from .environment import (
    BudgetEnvironment,
    BudgetTask,
    Decisions,
    SettingTree,
    gains_of,
)
from .latency import LatencyModel
from .logged import LoggedReward, logged_rollout
from .plan import TrainingPlan, budget_range, drawn_budgets
from .reward import BudgetReward
from .table import ProfileTable

#: Names of the controllers that are trained beside the algorithm's.
WARM_START, EXACT = 'warm start', 'exact'


class NoCost:
    """The :class:`~mmrlkd.rl.Multiplier` of rewards that have their costs in
    them."""

    def value(self) -> Tensor:
        return torch.zeros(())

    def update(self, mean: Tensor, variance: Tensor, temperature: Tensor) -> None:
        pass


@dataclass(frozen=True, eq=False)
class Trained:
    """The controllers of one seed.

    Attributes:
        controllers: by name; the config's algorithm is the last one.
        latency: fitted to the training images.
    """
    controllers: dict[str, Controller]
    latency: LatencyModel

    @property
    def algorithm(self) -> str:
        """Name of the controller that the config asks for."""
        return list(self.controllers)[-1]


def train_controllers(table: ProfileTable, plan: TrainingPlan, seed: int,
                      progress: Callable[[str], None] = lambda name: None
                      ) -> Trained:
    """Train with all images of a table.

    Of a complete table: the supervised warm start, and from its weights on the
    exact gradient and the plan's algorithm. Of a log: importance weights alone,
    see :mod:`.logged`.

    Args:
        table: the training images.
        plan: how.
        seed: of weights and draws; the same seed gives the same controllers.
        progress: told the name of what is trained next.
    """
    latency = LatencyModel.fit(table, **plan.latency)
    task = BudgetTask(_learned_from(table, plan), latency,
                      BudgetReward(**plan.reward), plan.overhead_ms)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = _new_controller(task, plan)
        draw = Draw(task, plan)
        if table.header.kind == 'log':
            progress('logged')
            _learn_from_log(start, draw, plan)
            return Trained({'logged': start.eval()}, latency)
        progress(WARM_START)
        _warm_start(start, draw, **plan.warm_start)
        controllers = {WARM_START: start}
        algorithm = _algorithm_name(plan.algorithm)
        for name, config in ((EXACT, {**plan.exact, 'type': 'mmrlkd.ExpectedReward'}),
                             (algorithm, plan.algorithm)):
            progress(name)
            controllers[name] = deepcopy(start)
            _learn(controllers[name], draw, config, plan.updates)
    return Trained({name: each.eval() for name, each in controllers.items()},
                   latency)


def _learned_from(table: ProfileTable, plan: TrainingPlan) -> ProfileTable:
    """The table with what is rewarded as its quality."""
    if plan.learn_from == 'quality':
        return table
    if table.log_prob is None:
        refuse('budget', 'learn_from', plan.learn_from,
               "'quality' where the table has no log_prob")
    return replace(table, quality=table.log_prob.exp())


class Draw:
    """Draws the decisions of an update.

    Args:
        task: with the images.
        plan: says how many, and of which budgets.
    """

    def __init__(self, task: BudgetTask, plan: TrainingPlan) -> None:
        self.task, self.plan = task, plan
        self.ends = budget_range(task.table, task.overhead_ms)
        self.images = min(plan.images, len(task.table))
        self.deviations = [
            (each - each.mean(0)).square().mean(0).sqrt()
            for each in (task.table.features, task.table.context)]

    def __call__(self) -> Decisions:
        """Images with their budgets, and noise on what is seen of them."""
        images = torch.randperm(len(self.task.table))[:self.images]
        budgets = drawn_budgets(self.plan, self.ends, len(images))
        decisions = self.task.decisions(
            images.repeat_interleave(budgets.shape[1]), budgets.flatten())
        seen = decisions.observation
        return replace(decisions, observation=seen.replace(
            features=self._noisy(seen.features, self.deviations[0]),
            context=self._noisy(seen.context, self.deviations[1])))

    def _noisy(self, vectors: Tensor, deviation: Tensor) -> Tensor:
        return vectors + self.plan.noise * deviation * torch.randn_like(vectors)


def _new_controller(task: BudgetTask, plan: TrainingPlan) -> Controller:
    table = task.table
    try:
        controller = Controller(
            table.features.shape[1], table.space.sizes, table.context.shape[1],
            **plan.controller)
    except TypeError as error:
        raise ValueError(
            f'budget.controller: {error}; accepted: hidden, bins.') from error
    low, high = budget_range(table, task.overhead_ms)
    controller.calibrate(
        table.features, table.context, low, high,
        task.latency.median[table.space.full].item())
    return controller


def _algorithm_name(config: Mapping[str, Any]) -> str:
    if 'type' not in config:
        refuse('budget', 'algorithm', dict(config),
               "dict(type='mmrlkd.GRPO', …), or another learner of mmrlkd.rl")
    return str(config['type']).rpartition('.')[2]


def _warm_start(controller: Controller, draw: Draw, steps: int = 50,
                lr: float = 1e-3) -> None:
    """Cross-entropy to the setting of the highest reward."""
    check_integer('budget.warm_start', 'steps', steps, 0)
    check_number('budget.warm_start', 'lr', lr, 0, open='low')
    policy = ControllerPolicy(controller)
    descent = Descent(policy.parameters(), lr, max_grad_norm=math.inf)
    for step in range(steps):
        descent.set_progress(step / steps)
        decisions = draw()
        choice, *_ = policy(decisions.observation, ())
        loss = -choice.log_prob(decisions.best).mean()
        descent.step(loss, torch.tensor(len(decisions)))


def _learn(controller: Controller, draw: Draw, config: Mapping[str, Any],
           updates: int) -> None:
    """Improve a controller by a learner."""
    learner: Any = LEARNERS.build(dict(config))
    policy = ControllerPolicy(controller)
    settings = controller.members.shape[1]
    if learner.needs == 'gains':
        learner.bind(policy, SettingTree(settings), torch.zeros(settings), NoCost())
    else:
        learner.bind(policy)
    for update in range(updates):
        learner.set_progress(update / updates)
        decisions = draw()
        learner.update(
            gains_of(decisions) if learner.needs == 'gains' else
            play(BudgetEnvironment(decisions, learner.group_size), policy))


def _learn_from_log(controller: Controller, draw: Draw, plan: TrainingPlan
                    ) -> None:
    try:
        learner = LoggedReward(**plan.logged)
    except TypeError as error:
        raise ValueError(
            f'budget.logged: {error}; accepted: lr, cap, entropy_coef, '
            'max_grad_norm.') from error
    policy = ControllerPolicy(controller)
    learner.bind(policy)
    table = draw.task.table
    assert table.propensity is not None, 'a log has them'
    action = table.measured.long().argmax(1)  # one of each image
    for update in range(plan.updates):
        learner.set_progress(update / plan.updates)
        decisions = draw()
        chosen = action[decisions.image]
        learner.update(logged_rollout(
            decisions.observation, chosen,
            table.propensity[decisions.image, chosen],
            decisions.reward.gather(1, chosen[:, None]).squeeze(1)))
