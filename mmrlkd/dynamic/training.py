"""Training controllers offline, from a table."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import refuse
from mmrlkd.registry import LEARNERS
from mmrlkd.rl import play

from .blind import BlindRule
from .controller import Controller, ControllerPolicy
from .deployed import ControllerHeader, LoadedController
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
from .warm_start import warm_start

#: Names of the controllers that are trained beside the algorithm's.
WARM_START, EXACT = 'warm start', 'exact'
#: Budgets at which a controller is compared with what sees no image.
_COMPARED = 16


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
        blind: at which budgets they look.
    """
    controllers: dict[str, Controller]
    latency: LatencyModel
    blind: BlindRule

    @property
    def algorithm(self) -> str:
        """Name of the controller that the config asks for."""
        return list(self.controllers)[-1]


def train_controllers(table: ProfileTable, plan: TrainingPlan, seed: int,
                      progress: Callable[[str], None] = lambda name: None
                      ) -> Trained:
    """Train with all images of a table.

    Of a complete table: the supervised warm start, and from its weights on the
    exact gradient and the plan's algorithm. The exact gradient, which is the
    cheapest, also learns at which budgets looking pays. Of a log: importance
    weights alone, see :mod:`.logged`.

    Args:
        table: the training images.
        plan: how.
        seed: of weights and draws; the same seed gives the same controllers.
        progress: told the name of what is trained next.
    """
    latency = LatencyModel.fit(table, **plan.latency)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        controllers = _train(_task(table, latency, plan), plan, progress)
        blind = BlindRule.always_look(table.quality.nanmean(0))
        if plan.folds and table.header.kind == 'complete':
            progress('at which budgets looking pays')
            blind = _blind_rule(table, latency, plan)
    return Trained(controllers, latency, blind)


def _task(table: ProfileTable, latency: LatencyModel, plan: TrainingPlan
          ) -> BudgetTask:
    return BudgetTask(
        table, latency, BudgetReward(**plan.reward), plan.overhead(table))


def _train(task: BudgetTask, plan: TrainingPlan, progress: Callable[[str], None]
           ) -> dict[str, Controller]:
    """The controllers by name, in eval mode."""
    start, draw = _new_controller(task, plan), Draw(task, plan)
    if task.table.header.kind == 'log':
        progress('logged')
        _learn_from_log(start, draw, plan)
        return {'logged': start.eval()}
    progress(WARM_START)
    warm_start(start, task.table, plan.prior)
    controllers = {WARM_START: start}
    algorithm = _algorithm_name(plan.algorithm)
    for name, config in ((EXACT, _exact(plan)), (algorithm, plan.algorithm)):
        progress(name)
        controllers[name] = deepcopy(start)
        _learn(controllers[name], draw, config, plan.updates)
    return {name: each.eval() for name, each in controllers.items()}


def _exact(plan: TrainingPlan) -> dict[str, Any]:
    return {**plan.exact, 'type': 'mmrlkd.ExpectedReward'}


def deploy(controller: Controller, latency: LatencyModel, blind: BlindRule,
           algorithm: str, table: ProfileTable, plan: TrainingPlan
           ) -> LoadedController:
    """A controller that was trained on a table, as the runtime uses it."""
    overhead = plan.overhead(table)
    return LoadedController(
        ControllerHeader.of(
            table.header, feature_dim=table.features.shape[1],
            context_dim=table.context.shape[1], algorithm=algorithm,
            overhead_ms=overhead, budgets=budget_range(table, overhead)),
        latency, controller, blind)


def _blind_rule(table: ProfileTable, latency: LatencyModel, plan: TrainingPlan
                ) -> BlindRule:
    """At which budgets controllers earn more than the best setting for all images,
    on images that they were not trained on."""
    low, high = budget_range(table, plan.overhead(table))
    budgets = torch.logspace(math.log10(low), math.log10(high), _COMPARED)
    order, gains = torch.randperm(len(table)), []
    for tested in order.tensor_split(plan.folds):
        part = table.take(order[~torch.isin(order, tested)].sort().values)
        task = _task(part, latency, plan)
        controller, draw = _new_controller(task, plan), Draw(task, plan)
        warm_start(controller, part, plan.prior)
        _learn(controller, draw, _exact(plan), plan.updates)
        runtime = deploy(controller.eval(), latency, BlindRule.always_look(
            part.quality.mean(0)), EXACT, part, plan)
        judge = _task(table.take(tested), latency, plan)
        gains.append(torch.stack(
            [_gain(runtime, judge, budget) for budget in budgets.tolist()], 1))
    return BlindRule.of_gains(table.quality.mean(0), budgets, torch.cat(gains))


def _gain(runtime: LoadedController, task: BudgetTask, budget_ms: float) -> Tensor:
    """(N,) what looking earns on each image of a task."""
    table = task.table
    context = table.context if table.context.shape[1] else None
    seen = runtime.choose(table.features, context, budget_ms)
    unseen = int(runtime.unseen(budget_ms).settings[0])
    every = torch.arange(len(table))
    budgets = torch.full((len(table), ), budget_ms)
    rewards = task.rewards(every, budgets)
    blind = task.rewards(every, budgets, looked=False)[:, unseen]
    return rewards.gather(1, seen[:, None])[:, 0] - blind


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
