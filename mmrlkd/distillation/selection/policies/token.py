"""A policy whose learned weights fit any number of levels and widths."""

from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.arguments import check_integer
from mmrlkd.registry import POLICIES
from mmrlkd.rl.policy import Memory
from mmrlkd.structures import LevelSpace, State

from .adapter import InputAdapter
from .base import LevelPolicy
from .encoder import orthogonal
from .lstm import EpisodeMemory


class SetLayer(nn.Module):
    """One round of exchange between the tokens of a set and a global token.

    Each token is updated from itself, the mean of all tokens and the global
    one. Linear layers that are equivariant to the order of a set have this form
    (Zaheer et al. 2017, https://arxiv.org/abs/1703.06114, lemma 3). Only matrix
    products and sums are used: they have second derivatives and run the same
    kernels with gradients as without. Fused attention has neither property.

    Args:
        width: of all tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = orthogonal(nn.Linear(width, width))
        self.others = nn.Linear(width, width, bias=False)
        self.whole = nn.Linear(width, width, bias=False)
        self.whole_own = orthogonal(nn.Linear(width, width))
        self.whole_others = nn.Linear(width, width, bias=False)
        for layer in self.others, self.whole, self.whole_others:
            nn.init.orthogonal_(layer.weight)
        self.norm = nn.LayerNorm(width)
        self.whole_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """The new (B, L, width) tokens and the new (B, width) global one."""
        # A mean, not a sum: its size does not depend on the number of levels.
        mean = tokens.mean(-2)
        context = self.others(mean) + self.whole(whole)
        update = torch.relu(self.own(tokens) + context[:, None])
        whole_update = torch.relu(
            self.whole_own(whole) + self.whole_others(mean))
        return (self.norm(tokens + update),
                self.whole_norm(whole + whole_update))


class TokenNetwork(nn.Module):
    """Computes logits and value from tokens; no shape depends on the task.

    Args:
        width: of the adapted maps.
        hidden: of the tokens.
        layers: rounds of exchange.
        cells: depth of the memory.
    """

    #: Numbers of a token beside its map: log-stride, share of the cost, loss,
    #: selected or not; and of the global one: loss, budget left, time.
    TOKEN, WHOLE = 4, 3

    def __init__(self, width: int, hidden: int, layers: int,
                 cells: int) -> None:
        super().__init__()
        self.token = orthogonal(nn.Linear(width + self.TOKEN, hidden))
        self.whole = orthogonal(nn.Linear(width + self.WHOLE, hidden))
        self.layers = nn.ModuleList(SetLayer(hidden) for _ in range(layers))
        self.memory = EpisodeMemory(hidden, cells)
        # With a last layer near zero the policy starts near the uniform one.
        self.action = nn.Sequential(
            orthogonal(nn.Linear(2 * hidden, hidden)), nn.ReLU(),
            orthogonal(nn.Linear(hidden, 1), gain=0.01))
        self.value = nn.Sequential(
            orthogonal(nn.Linear(hidden, hidden)), nn.ReLU(),
            orthogonal(nn.Linear(hidden, 1), gain=1.))

    def forward(self, tokens: Tensor, whole: Tensor,
                memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """(B, L) logits, (B,) value and the new memory.

        Args:
            tokens: (B, L, width + 4).
            whole: (B, width + 3).
            memory: of the episode's earlier steps.
        """
        tokens, whole = self.token(tokens), self.whole(whole)
        for layer in self.layers:
            tokens, whole = layer(tokens, whole)
        whole, memory = self.memory.recall(whole, memory)
        seen = torch.cat(
            [tokens, whole[:, None].expand_as(tokens)], dim=-1)
        return (self.action(seen).squeeze(-1), self.value(whole).squeeze(-1),
                memory)


@POLICIES.register_module()
class TokenPolicy(LevelPolicy):
    """Represents each level by a token, so that its weights fit another task.

    A token is the level's pooled map, projected to a fixed width by the task's
    own :attr:`adapter`, with its log-stride, share of the cost, loss and
    whether it is selected. The weights after the adapter are in :attr:`shared`:
    no shape there depends on the number of levels, the widths of the maps or
    the number of steps, and permuting the levels permutes the logits. To carry
    a policy to another task::

        other.shared.load_state_dict(policy.shared.state_dict())

    Before it is bound to levels, a policy has its shared weights alone: a
    meta-policy. :meth:`fitted` gives the policy of a task that uses them.

    Args:
        width: given to each pooled map.
        hidden: width of the tokens and of the LSTM.
        layers: rounds of exchange between the tokens.
        cells: depth of the LSTM over the steps of an episode.
    """

    def __init__(self, width: int = 128, hidden: int = 128, layers: int = 2,
                 cells: int = 1) -> None:
        super().__init__()
        for key, value in (('width', width), ('hidden', hidden),
                           ('layers', layers), ('cells', cells)):
            check_integer('TokenPolicy', key, value, 1)
        self.width = width
        self.hidden = hidden
        self.layers = layers
        self.cells = cells
        self.shared = TokenNetwork(width, hidden, layers, cells)

    @property
    def architecture(self) -> dict[str, int]:
        """What the shapes of the shared weights depend on."""
        return dict(width=self.width, hidden=self.hidden, layers=self.layers,
                    cells=self.cells)

    def bind(self, space: LevelSpace, horizon: int) -> None:
        if len(space.strides) != len(space):
            raise ValueError(
                f'TokenPolicy: the levels {space.names} have the strides '
                f'{space.strides}; accepted: one for each.')
        super().bind(space, horizon)
        self.adapter = InputAdapter(space, self.width)
        costs = torch.tensor(space.costs)
        # log2(stride) / 5: 1 for stride 32, the coarsest level of most pyramids.
        self.register_buffer('_fixed', torch.stack([
            torch.tensor(space.strides, dtype=costs.dtype).log2() / 5,
            costs / costs.sum()], dim=-1), persistent=False)

    def fitted(self, environment: Any) -> 'TokenPolicy':
        """A policy for the levels of an environment: this one's shared
        weights, not a copy, behind an adapter that does not learn, see
        :meth:`.adapter.InputAdapter.fit`."""
        with torch.random.fork_rng(devices=[]):  # no weight stays as drawn
            policy = TokenPolicy(**self.architecture)
            policy.bind(environment.space, environment.horizon)
        weight = self.shared.token.weight
        policy.to(weight.device, weight.dtype)
        policy.shared = self.shared
        policy.adapter.fit(environment.reset())
        policy.adapter.requires_grad_(False)
        return policy

    def initial(self, batch: int, device: torch.device) -> Memory:
        return self.shared.memory.initial(batch, device)

    def score(self, state: State,
              memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        maps, deepest = self.adapter(state)
        tokens = torch.cat([
            maps,
            self._fixed.expand(len(maps), -1, -1),
            state.level_losses[..., None],
            state.selected[..., None].to(maps.dtype)], dim=-1)
        whole = torch.cat([
            deepest,
            state.loss[:, None],
            state.budget_left[:, None],
            (state.step / self.horizon)[:, None]], dim=-1)
        return self.shared(tokens, whole, memory)
