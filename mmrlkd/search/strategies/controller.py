"""A recurrent controller that is trained to emit good recipes."""

import copy
from collections import deque
from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number, refuse
from mmrlkd.registry import STRATEGIES
from mmrlkd.rl import policy_gradient
from mmrlkd.search.recipe import LevelRecipe, Recipe
from mmrlkd.structures import LevelSpace

from .base import Strategy
from .controller_network import ControllerNetwork, Tokens, learnt_from


@STRATEGIES.register_module()
class ControllerSearch(Strategy):
    """Zoph & Le 2017, https://arxiv.org/abs/1611.01578, over recipes: which
    levels, and for each the loss, the connector and the teacher's levels, as
    :class:`ControllerNetwork` emits them. Trained with REINFORCE,

        1/m Σ_k ∇ log p(recipe_k) (R_k − b)  +  entropy_coef · ∇ entropy

    where R is the fitness and b a moving average of earlier rewards. The first
    batch is compared with its own mean; its gradient is then (m − 1)/m of the
    true one in expectation.

    If other batches were asked for between asking and telling, the gradient is
    taken at the weights that drew the batch and applied to the present ones, as
    with the paper's parameter server.

    Recipes that distil nothing, exceed the budget or cannot be built are
    possible; they get the reward ``failure``.

    Args:
        losses: configs of the losses to choose from, by name; None for the
            distiller's own at all levels.
        connectors: likewise.
        batches: updates of the controller.
        batch_size: m, children of an update.
        hidden: width of the LSTM.
        lr: learning rate of Adam. (The paper's 6e-4 is for 12 800 children.)
        baseline_decay: weight of the old baseline in an update of it.
        entropy_coef: weight of the entropy, in units of the fitness per nat. A
            recipe of four levels has up to 20 nats; their total should be worth
            about the difference between good and bad recipes.
        failure: reward of a recipe that failed; should be less than that of a
            working recipe, which is negative with a large ``efficiency``.
    """

    adaptive = True

    def __init__(self, losses: Mapping[str, Mapping[str, Any]] | None = None,
                 connectors: Mapping[str, Mapping[str, Any]] | None = None,
                 batches: int = 50, batch_size: int = 8, hidden: int = 35,
                 lr: float = 2e-2, baseline_decay: float = 0.9,
                 entropy_coef: float = 1e-3, failure: float = 0.) -> None:
        owner = type(self).__name__
        self.batches = check_integer(owner, 'batches', batches, 1)
        self.batch_size = check_integer(owner, 'batch_size', batch_size, 1)
        self.hidden = check_integer(owner, 'hidden', hidden, 1)
        self.lr = check_number(owner, 'lr', lr, 0, open='low')
        self.baseline_decay = check_number(
            owner, 'baseline_decay', baseline_decay, 0, 1, open='high')
        self.entropy_coef = check_number(
            owner, 'entropy_coef', entropy_coef, 0)
        self.failure = check_number(owner, 'failure', failure)
        self.losses = dict(losses or {})
        self.connectors = dict(connectors or {})
        for key, table in (('losses', self.losses),
                           ('connectors', self.connectors)):
            for name, cfg in table.items():
                if not (isinstance(cfg, Mapping) and 'type' in cfg):
                    refuse(owner, f'{key}[{name!r}]', cfg,
                           'a config with a type')

    def bind(self, space: LevelSpace, seed: int) -> None:
        super().bind(space, seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.network = ControllerNetwork(
            len(space), len(self.losses), len(self.connectors), self.hidden,
            self._generator)
        self._optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.lr)
        #: Moving average of the rewards; None before the first.
        self.baseline: float | None = None
        self._left = self.batches
        #: Batches not told yet: the network as it drew them, and their tokens.
        self._open: deque[tuple[ControllerNetwork, Tokens]] = deque()

    @property
    def total(self) -> int:
        return self.batches * self.batch_size

    def ask(self) -> list[Recipe]:
        if not self._left:
            return []
        # The network is copied: with asynchronous workers it may have changed when
        # the batch is told.
        self._left -= 1
        tokens = self.network.sample(self.batch_size, self._generator)
        self._open.append((copy.deepcopy(self.network), tokens))
        return self.recipes(tokens)

    def tell(self, batch: list[Recipe], fitness: list[float]) -> None:
        network, tokens = self._open.popleft()
        advantage = self._advantage([
            value if isfinite(value) else self.failure for value in fitness])
        # At the weights that drew the batch, for a step of the present ones.
        gradient = torch.autograd.grad(
            self.loss(network, tokens, advantage), list(network.parameters()))
        for parameter, part in zip(
                self.network.parameters(), gradient, strict=True):
            parameter.grad = part
        self._optimizer.step()

    def loss(self, network: ControllerNetwork, tokens: Tokens,
             advantage: Tensor) -> Tensor:
        """The 0-dim loss of an update, for sequences with ``advantage`` (m,)."""
        log_prob, entropy = network.evaluate(tokens)
        # The mean over the children, as the paper's 1/m.
        share = torch.full_like(log_prob, 1 / len(log_prob))
        return (policy_gradient(log_prob, advantage.to(log_prob), share) -
                self.entropy_coef * (share * entropy).sum())

    def recipes(self, tokens: Tokens) -> list[Recipe]:
        """The recipe of each sequence."""
        names = self.space.names
        columns = {
            kind: [list(table)[i] for i in range(len(table))]
            for kind, table in (('loss', self.losses),
                                ('connector', self.connectors)) if table}
        # A level whose mask of teachers is empty learns from the one of its name.
        teachers = torch.stack([
            learnt_from(tokens['teachers'][:, i], i)
            for i in range(len(names))], 1).tolist()

        def level(child: int, i: int) -> LevelRecipe:
            return LevelRecipe(
                names[i],
                tuple(name for name, drawn in zip(
                    names, teachers[child][i], strict=True) if drawn),
                **{kind: values[int(tokens[kind][child, i])]
                   for kind, values in columns.items()})

        return [
            Recipe(tuple(level(child, i)
                         for i, on in enumerate(switches) if on))
            for child, switches in enumerate(tokens['on'].tolist())]

    def _advantage(self, rewards: list[float]) -> Tensor:
        mean = sum(rewards) / len(rewards)
        baseline = mean if self.baseline is None else self.baseline
        # After the baseline was used: one that depends on these rewards would
        # bias the gradient.
        self.baseline = (self.baseline_decay * baseline +
                         (1 - self.baseline_decay) * mean)
        return torch.tensor(rewards, dtype=torch.float64) - baseline
