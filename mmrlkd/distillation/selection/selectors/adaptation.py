"""Beginning with a meta-policy, which the run's first images adapt."""

from collections.abc import Sequence

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_integer, refuse
from mmrlkd.distillation.selection.meta_policy import load_meta_policy
from mmrlkd.distillation.selection.policies import LevelPolicy, TokenPolicy
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.rl import Nodes, Policy, outcome_probabilities
from mmrlkd.rl.meta import descend
from mmrlkd.structures import LevelSpace, State

OWNER = 'PolicySelector'


class Adaptation:
    """Puts a meta-policy's shared weights in a policy, and adapts it once.

    Args:
        init: file of :class:`..meta_policy.MetaPolicy`.
        steps: of gradient descent; 0 with the weights as they are.
        shots: images that are adapted to.
    """

    def __init__(self, init: str, steps: int, shots: int) -> None:
        self.init = init
        self.steps = check_integer(OWNER, 'adapt_steps', steps, 0)
        self.shots = check_integer(OWNER, 'shots', shots, 1)
        self.meta = load_meta_policy(init, 'model.selector.init')

    def bind(self, policy: LevelPolicy, space: LevelSpace, reward: Reward,
             horizon: int) -> None:
        """Load the weights into a policy that is bound to the levels.

        Raises:
            ValueError: the file's policy, reward or levels are others.
        """
        meta = self.meta
        wanted = f'a file of {meta.policy.architecture}'
        if not isinstance(policy, TokenPolicy):
            refuse(OWNER, 'policy', type(policy).__name__,
                   f'TokenPolicy, for init={self.init!r} is {wanted}')
        if policy.architecture != meta.policy.architecture:
            refuse(OWNER, 'policy', policy.architecture,
                   f'{meta.policy.architecture}, the architecture of '
                   f'init={self.init!r}')
        given = type(reward).__name__
        learnt = str(meta.reward['type']).rpartition('.')[2]
        if given != learnt:
            refuse(OWNER, 'reward', given,
                   f'{learnt}, which init={self.init!r} was learnt with')
        if horizon != meta.horizon:
            refuse(OWNER, 'horizon', horizon,
                   f'{meta.horizon}, as init={self.init!r} has it')
        policy.shared.load_state_dict(meta.policy.shared.state_dict())
        #: Whether the policy still waits for images.
        self.pending = self.steps > 0 or meta.space is None
        if meta.space is not None:
            if _widths(meta.space) != _widths(space):
                refuse(OWNER, 'init', self.init,
                       f'a policy adapted to the levels {_widths(space)}; this '
                       f'one is of {_widths(meta.space)}')
            policy.adapter.load_state_dict(meta.policy.adapter.state_dict())

    def ready(self, samples: int) -> bool:
        """Whether every rank has enough of them."""
        count = torch.tensor(samples)
        dist.all_reduce(count, 'min')
        return int(count) >= self.shots

    @torch.no_grad()
    def adapt(self, policy: TokenPolicy, known: State, nodes: Sequence[Nodes],
              reward: Tensor) -> None:
        """Fit the adapter, unless the file had it, and take the steps. All
        ranks get what rank 0's images teach.

        Args:
            policy: bound.
            known: (B,), the images.
            nodes: what their episodes show.
            reward: (B, S), of each outcome.
        """
        if self.meta.space is None:
            policy.adapter.fit(known)

        def loss(each: Policy) -> Tensor:
            probability, _ = outcome_probabilities(each, nodes)
            return -(probability * reward).sum(-1).mean()

        names = [f'shared.{name}' for name, _ in policy.shared.named_parameters()]
        descend(policy, loss, self.meta.lr, self.steps, names)
        for weight in policy.parameters():
            dist.broadcast(weight.data)
        self.pending = False


def _widths(space: LevelSpace) -> tuple[tuple[str, int], ...]:
    return (*zip(space.names, space.level_channels, strict=True),
            ('deepest', space.global_channels), ('context', space.context))
