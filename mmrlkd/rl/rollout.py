"""Playing episodes, and storing them until an update."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from tensordict import TensorClass, is_tensor_collection
from torch import Tensor

from .distributions import Distribution
from .environment import Environment, Observation
from .policy import Policy


class Rollout(TensorClass):
    """Episodes of one policy, for its update.

    Its batch size is (T, B): T steps of B parallel episodes. It is a tensor tree:
    ``rollout[:, episodes]`` selects whole episodes, ``torch.cat(…, 1)``
    concatenates them.

    Attributes:
        observation: observations of the policy, with their action masks.
        action: int64, or a tree of it by head.
        log_prob: (T, B), of the actions, under the policy that acted.
        value: (T, B), the critic's estimates when acting; None without one.
        reward: (T, B); None until it is known.
        entropy: (T, B) in nats, of the policy that acted, for the log; None
            once stored.
    """
    observation: Any
    action: Any
    log_prob: Tensor
    value: Tensor | None = None
    reward: Tensor | None = None
    entropy: Tensor | None = None

    def rewarded(self, reward: Tensor) -> Self:
        """The same episodes with their rewards (T, B)."""
        return self.replace(reward=reward)


@torch.no_grad()
def play(environment: Environment, policy: Policy,
         explore: bool = True) -> Rollout:
    """Play the environment's episodes to their end.

    Args:
        environment: is reset first.
        policy: acts.
        explore: draw the actions; otherwise take the most probable ones.

    Returns:
        (T, B). Its ``reward`` is None if the environment does not return it.
    """
    return torch.stack([  # type: ignore[return-value]
        Rollout(
            observation=each.observation, action=each.action,
            log_prob=each.choice.log_prob(each.action), value=each.value,
            reward=each.reward, entropy=each.choice.entropy(),
            batch_size=[environment.batch_size])
        for each in _steps(environment, policy, explore)])


@torch.no_grad()
def act(environment: Environment, policy: Policy,
        explore: bool = True) -> None:
    """Like :func:`play`, for the environment's last state alone: nothing is kept
    to learn from."""
    for _ in _steps(environment, policy, explore):
        pass


class _Step(NamedTuple):
    observation: Observation
    choice: Distribution
    value: Tensor | None
    action: Any
    reward: Tensor | None


def _steps(environment: Environment, policy: Policy,
           explore: bool) -> Iterator[_Step]:
    # The policy's memory is carried through the episode and dropped afterwards:
    # learning evaluates the episode from its start.
    observation = environment.reset()
    memory = policy.initial(environment.batch_size, environment.device)
    for _ in range(environment.horizon):
        choice, value, memory = policy(observation, memory)
        action = choice.sample() if explore else choice.mode()
        following, reward = environment.step(action)
        yield _Step(observation, choice, value, action, reward)
        observation = following


class RolloutStorage:
    """Stores the rollouts of several batches."""

    def __init__(self) -> None:
        self._rollouts: list[Rollout] = []

    def __len__(self) -> int:
        """Number of batches stored."""
        return len(self._rollouts)

    def add(self, rollout: Rollout) -> None:
        """Store the episodes of one batch, detached.

        Raises:
            ValueError: their rewards are not known.
        """
        if rollout.reward is None:
            raise ValueError(
                'The rewards of these episodes are not known yet; store '
                'rollout.rewarded(reward).')
        self._rollouts.append(rollout.replace(entropy=None).detach())

    def gather(self, device: torch.device) -> Rollout:
        """All episodes along B, on ``device``."""
        # Rollouts from a checkpoint may be on the CPU.
        return torch.cat(  # type: ignore[return-value]
            [rollout.to(device) for rollout in self._rollouts], 1)

    def clear(self) -> None:
        """Remove all episodes: after an update they are of an older policy."""
        self._rollouts.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """The rollouts as nested dicts of tensors, on the CPU: other ranks
        are shown them when a checkpoint is written."""
        return [plain(rollout.cpu()) for rollout in self._rollouts]

    def load_state_dict(self, state: list[dict[str, Any]],
                        observation: Callable[[dict], Observation]) -> None:
        """Replace the rollouts by those of a :meth:`state_dict`.

        Args:
            state: the state dict.
            observation: makes an observation from its plain dict.
        """
        self._rollouts = []
        for each in state:
            shape = each['reward'].shape
            self.add(Rollout(
                **{**each, 'observation': observation(each['observation'])},
                batch_size=shape))


def plain(tree: Any) -> dict[str, Any]:
    return {key: plain(value) if is_tensor_collection(value) else value
            for key, value in tree.items() if value is not None}


def set_aside_broken(rollout: Rollout) -> tuple[Rollout, Tensor]:
    """Give episodes with a non-finite number the weight 0.

    They are not removed, so that shapes do not depend on values, which would
    make the host wait, and stay equal on all ranks.

    Returns:
        The rollout, in which the floating-point numbers of broken episodes are
        0, and the episodes' weights (B,): 0 for broken ones, otherwise 1.
    """
    # Integers, such as actions, are always finite. An image's numbers beyond
    # (T, B) are flattened.
    finite = [
        each.isfinite().flatten(2).all(-1) if each.dim() > 2 else each.isfinite()
        for each in rollout.values(include_nested=True, leaves_only=True)
        if each.is_floating_point()]
    kept = torch.stack(finite).all(0).all(0)  # over the tensors, then the steps

    def blank(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        per_episode = kept.view(-1, *[1] * (tensor.dim() - 2))
        return tensor.where(per_episode, 0.)

    return rollout.apply(blank), kept.float()
