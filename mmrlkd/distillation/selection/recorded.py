"""Recorded environments: episodes without images, student or teacher.

What a policy sees of an image while the student stands still follows from its
pooled features, its descriptors and the losses of all its levels; what it is
rewarded with from the gains of all subsets of levels. Once these are recorded,
episodes are played, and the best choices known, at the speed of memory.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tensordict import TensorClass
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number, refuse
from mmrlkd.rl import Nodes, Outcome, Policy, outcome_probabilities
from mmrlkd.structures import LevelSpace, State

from .environment import DecisionProcess, KnownLosses, SubsetTree, subset_costs

#: Number of the format, in each file.
VERSION = 1


class Recording(TensorClass):
    """What was recorded of N images; its batch size is (N,).

    Attributes:
        global_feature: (N, G), see :class:`~mmrlkd.structures.State`.
        level_features: (N, C_1 + … + C_L), likewise.
        context: (N, K), likewise.
        level_losses: (N, L), likewise, of all levels.
        gains: (N, 2^L), see :meth:`.rewards.Reward.gains`.
    """
    global_feature: Tensor
    level_features: Tensor
    context: Tensor
    level_losses: Tensor
    gains: Tensor


@dataclass(frozen=True)
class Header:
    """What a recording is of.

    Attributes:
        space: the levels, with their costs, widths and strides.
        config: path of the config.
        checkpoint: SHA-256 of the checkpoint file, in hex.
        reward: config of the reward, without its ``efficiency``.
        efficiency: λ that was charged then; the gains do not include it.
        context: names of the descriptors in ``context``.
    """
    space: LevelSpace
    config: str
    checkpoint: str
    reward: Mapping[str, Any]
    efficiency: float
    context: tuple[str, ...] = ()


def save_recording(path: str | Path, recording: Recording,
                   header: Header) -> None:
    """Write a safetensors file; its metadata hold the header, each entry in
    JSON.

    Raises:
        ValueError: a number is not finite.
    """
    tensors = {field.name: getattr(recording, field.name).cpu().contiguous()
               for field in fields(recording)}
    broken = [name for name, tensor in tensors.items()
              if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f'{path}: {", ".join(broken)} of some images are not finite; '
            'accepted: a student that has not diverged.')
    save_file(tensors, path, {
        key: json.dumps(value) for key, value in
        {'version': VERSION, **asdict(header)}.items()})


def load_recording(path: str | Path, checkpoint: str | None = None
                   ) -> tuple[Recording, Header]:
    """Read what :func:`save_recording` wrote.

    Args:
        path: the file.
        checkpoint: SHA-256 of the student's checkpoint; None for any.

    Raises:
        ValueError: it is no recording, or one of another student.
    """
    try:
        with safe_open(str(path), 'pt') as file:
            entries = {key: json.loads(value)
                       for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if entries.pop('version') != VERSION:
            raise KeyError('version')
        space: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in entries.pop('space').items()}
        header = Header(LevelSpace(**space), **{
            **entries, 'context': tuple(entries['context'])})
        recording = Recording(**tensors, batch_size=len(tensors['gains']))
    except (OSError, SafetensorError, KeyError, TypeError,
            json.JSONDecodeError) as error:
        raise ValueError(
            f'{path} is no recording ({error}); accepted: a file of '
            'tools/record_environment.py.') from error
    if checkpoint is not None and header.checkpoint != checkpoint:
        raise ValueError(
            f'{path} is a recording of another student: its checkpoint has '
            f'the SHA-256 {header.checkpoint[:12]}…; accepted: '
            f'{checkpoint[:12]}….')
    return recording, header


class RecordedEnvironment:
    """A :class:`~mmrlkd.rl.meta.KnownTask`: one episode for each image.

    States are those of a :class:`.environment.DecisionProcess`. A step is
    rewarded by the difference that it makes to gain − λ · cost / Σ cost_i.

    Args:
        recording: of the images.
        space: the levels.
        horizon: steps T of an episode.
        efficiency: λ.
    """

    def __init__(self, recording: Recording, space: LevelSpace,
                 horizon: int = 4, efficiency: float = 0.5) -> None:
        owner = 'RecordedEnvironment'
        self.recording = recording
        self.space = space
        self.horizon = check_integer(owner, 'horizon', horizon, 1)
        self.efficiency = check_number(owner, 'efficiency', efficiency, 0)
        _check_shapes(recording, space)
        self.batch_size = len(recording)
        self.device = recording.gains.device
        self.tree = SubsetTree(space, horizon)
        costs = subset_costs(space.costs)
        gains = recording.gains
        #: (B, 2^L), what holding each subset is worth.
        self.worth = gains - efficiency * (costs / costs[-1]).to(gains)
        self.process = DecisionProcess(
            space, recording.global_feature, recording.level_features,
            KnownLosses(recording.level_losses), horizon, recording.context)
        self.reset()

    @classmethod
    def load(cls, path: str | Path, horizon: int = 4,
             efficiency: float | None = None, checkpoint: str | None = None,
             device: str = 'cpu') -> Self:
        """The environment of a file.

        Args:
            path: see :func:`load_recording`.
            horizon: steps T of an episode.
            efficiency: λ; None for that of the recorded reward.
            checkpoint: see :func:`load_recording`.
            device: where the tensors go.
        """
        recording, header = load_recording(path, checkpoint)
        return cls(recording.to(device), header.space, horizon,
                   header.efficiency if efficiency is None else efficiency)

    def reset(self) -> State:
        """Begin the episodes; nothing is held."""
        self._held = torch.zeros(
            self.batch_size, dtype=torch.int64, device=self.device)
        return self.process.reset()

    def step(self, action: Tensor) -> Outcome:
        """Hold the subsets ``action`` (B,) int64, which must be allowed."""
        before, self._held = self._held, action
        change = torch.stack([before, action], 1)
        reward = self.worth.gather(1, change).diff().squeeze(1)
        return Outcome(self.process.step(action).observation, reward)

    def take(self, episodes: Tensor) -> 'RecordedEnvironment':
        """The environment of the images ``episodes`` (B',) int64."""
        return RecordedEnvironment(
            self.recording[episodes], self.space, self.horizon,
            self.efficiency)

    @cached_property
    def nodes(self) -> list[Nodes]:
        """All that episodes can show, see :class:`.environment.SubsetTree`."""
        return self.tree.nodes(self.process.known())

    @cached_property
    def returns(self) -> Tensor:
        """(B, S), of each outcome of an episode: the sum of its rewards."""
        outcomes = self.tree.outcomes.to(self.device)
        return self.worth[:, outcomes] - self.worth[:, :1]

    def expected_reward(self, policy: Policy) -> Tensor:
        """(B,) Σ_s π(s | x) R(s, x), with its graph."""
        probability, _ = outcome_probabilities(policy, self.nodes)
        return (probability * self.returns).sum(-1)

    @torch.no_grad()
    def regret(self, policy: Policy) -> Tensor:
        """(B,) by how much the policy's expected reward is below that of the
        best subset for each image."""
        return self.returns.amax(-1) - self.expected_reward(policy)

    def fixed_regret(self) -> tuple[int, Tensor]:
        """The best subset for all images, and its regret (B,)."""
        best = int(self.returns.mean(0).argmax())
        return int(self.tree.outcomes[best]), (
            self.returns.amax(-1) - self.returns[:, best])


def load_tasks(paths: Sequence[str | Path], horizon: int = 4,
               efficiency: float | None = None, device: str = 'cpu'
               ) -> list[RecordedEnvironment]:
    """Recorded environments for one meta-policy; their levels, widths and
    descriptors may differ.

    Args:
        paths: see :func:`load_recording`.
        horizon: see :class:`RecordedEnvironment`.
        efficiency: likewise; None for that of each recording.
        device: where the tensors go.

    Raises:
        ValueError: they have not all the same reward.
    """
    if not paths:
        refuse('load_tasks', 'paths', paths, 'at least one recording')
    loaded = [load_recording(path) for path in paths]
    first = loaded[0][1]
    for path, (_, header) in zip(paths, loaded, strict=True):
        if header.reward != first.reward:
            raise ValueError(
                f'{path} has the reward {header.reward} and {paths[0]} '
                f'{first.reward}; accepted: tasks with a common reward.')
    return [RecordedEnvironment(
        recording.to(device), header.space, horizon,
        header.efficiency if efficiency is None else efficiency)
        for recording, header in loaded]


def _check_shapes(recording: Recording, space: LevelSpace) -> None:
    for name, width in (
            ('global_feature', space.global_channels),
            ('level_features', sum(space.level_channels)),
            ('context', space.context), ('level_losses', len(space)),
            ('gains', 2**len(space))):
        shape = tuple(getattr(recording, name).shape)
        if shape != (len(recording), width):
            refuse('RecordedEnvironment', f'recording.{name}', shape,
                   f'a tensor of shape {(len(recording), width)}, for the '
                   f'levels {", ".join(space.names)}')
