"""A trained controller as the runtime uses it, and its checkpoint."""

import copy
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mmrlkd.arguments import check_number, refuse
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.files import load_file

from .blind import BlindRule
from .controller import Controller
from .latency import LatencyModel
from .limits import Budgets, Choice, Limits, checked_budgets, each_budget
from .settings import SettingSpace
from .table import TableHeader, looking_ms

#: Number of the format, in each checkpoint.
VERSION = 2
#: Combinations of budgets for which a controller keeps what does not depend on images.
_KEPT = 256


@dataclass(frozen=True)
class ControllerHeader:
    """What a controller is for; JSON-able.

    Attributes:
        knobs: see :meth:`.settings.SettingSpace.header`.
        feature_dim: F, numbers of the image feature.
        context_dim: C, numbers of the context; 0 for none.
        overhead_ms: time of a decision that was reckoned with.
        budgets: (lowest, highest) budget of the training, in ms.
        quality: name of the measure that was trained for.
        algorithm: that trained it.
        machine: on which latencies were measured.
        config: path of the model's config.
        model: SHA-256 of its checkpoint, in hex.
        feature: where the image feature comes from.
        image_size: (height, width) of the profile's images in px, None if they
            differ.
    """
    knobs: Sequence[dict[str, Any]]
    feature_dim: int
    context_dim: int
    overhead_ms: float
    budgets: Sequence[float]
    quality: str = 'quality'
    algorithm: str = ''
    machine: Mapping[str, Any] = field(default_factory=dict)
    config: str = ''
    model: str = ''
    feature: Mapping[str, Any] = field(default_factory=dict)
    image_size: Sequence[int] | None = None

    @classmethod
    def of(cls, table: TableHeader, **training: Any) -> Self:
        """That of a controller trained on a table.

        Args:
            table: the table's header.
            training: the fields that it does not have.
        """
        known = {each.name for each in fields(cls)}
        return cls(**{**{key: value for key, value in asdict(table).items()
                         if key in known}, **training})


class BudgetedController(ABC):
    """Chooses a setting for each image.

    Settings whose predicted upper quantile of the latency, with the time of the
    decision itself, exceeds the budget are not chosen. Where this leaves none, the
    cheapest one is.

    What depends on the budget and not on the image is kept for the next images: these
    often have the same budgets.

    Args:
        header: what the controller is for.
        latency: predicts latencies on the machine of the profile.
        blind: says where to look, and what to choose elsewhere; by default every
            image is looked at for which there is a choice.

    Attributes:
        space: the settings.
        looking_ms: (S,) what the image feature adds to each setting, on the machine
            of the profile.
        overhead_ms: time of a decision, on this machine.
        time_scale: latency on this machine divided by that on the machine of the
            profile.
    """

    def __init__(self, header: ControllerHeader, latency: LatencyModel,
                 blind: BlindRule | None = None) -> None:
        self.header = header
        self.latency = latency
        self.space = SettingSpace.from_header(header.knobs)
        self.blind = blind or BlindRule.always_look(torch.zeros(len(self.space)))
        self.looking_ms = looking_ms(header.feature, len(self.space))
        self._set_machine(header.overhead_ms, 1.)

    def _set_machine(self, overhead_ms: float, time_scale: float) -> None:
        self.overhead_ms, self.time_scale = overhead_ms, time_scale
        self._added = (self.looking_ms * time_scale + overhead_ms).numpy()
        #: (1, S) of an image of which nothing is known.
        self._unseen = (self.latency.marginal * time_scale).numpy()[None]
        upper = self.latency.median * self.latency.ratio
        self._upper = (upper * time_scale).numpy()[None] + self._added
        self._bounds = lru_cache(_KEPT)(self._bounds_of)
        self._encoded = lru_cache(_KEPT)(self._encode)

    @abstractmethod
    def scores(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor) -> Tensor:
        """(B, S) unnormalised log-probabilities before masking, of budgets (B,)
        in ms of the profile's machine; see :meth:`choose`."""

    def adjusted(self, overhead_ms: float | None = None,
                 time_scale: float | None = None) -> Self:
        """The same controller on a machine that was measured.

        Args:
            overhead_ms: see the attributes; None leaves it as it is.
            time_scale: likewise.
        """
        other = copy.copy(self)
        if overhead_ms is None:
            overhead_ms = self.overhead_ms
        if time_scale is None:
            time_scale = self.time_scale
        check_number('adjusted', 'overhead_ms', overhead_ms, 0)
        check_number('adjusted', 'time_scale', time_scale, 0, open='low')
        other._set_machine(overhead_ms, time_scale)
        return other

    def looking(self) -> Self:
        """The same controller, which looks at every image; itself if it does."""
        if self.blind.looks.all():
            return self
        other = copy.copy(self)
        other.blind = BlindRule.always_look(self.blind.value)
        return other

    def looks(self, budget_ms: Budgets) -> np.ndarray:
        """(B,) bool, whether images of these budgets, (B,) or one number, are worth
        looking at: :meth:`choose` is for them, and :meth:`unseen` for the others.

        It is also not where at most one setting would be left to choose.
        """
        budget = checked_budgets(budget_ms)
        left = (self._unseen + self._added <= budget[:, None]).sum(1)
        return self.blind.looks_at(budget / self.time_scale) & (left > 1)

    def unseen(self, budget_ms: Budgets) -> Choice:
        """What is chosen for images that nobody has looked at.

        Args:
            budget_ms: (B,) or one number.
        """
        budget = checked_budgets(budget_ms)
        return Limits.of(self._unseen, budget).choose(
            np.broadcast_to(self.blind.value.numpy(), (len(budget), len(self.space))))

    def choose(self, features: Tensor, context: Tensor | None,
               budget_ms: Budgets) -> Tensor:
        """:attr:`Choice.settings` of :meth:`decide`, (B,) int64 on the CPU."""
        return torch.from_numpy(self.decide(features, context, budget_ms).settings)

    def decide(self, features: Tensor, context: Tensor | None,
               budget_ms: Budgets) -> Choice:
        """The setting for each image, by what is seen of it.

        Args:
            features: (B, F), on any device.
            context: (B, C), or None without context.
            budget_ms: (B,) or one number, > 0; may be infinite.

        Raises:
            ValueError: the features are not of the width that was trained with,
                or a budget is no number above 0.
        """
        context = self._checked_context(context)
        features = self._checked(features)
        budgets = each_budget(budget_ms, len(features))
        scores = self._encoded_scores(features, context, self._encoded(budgets))
        return self._limits(features, budgets).choose(scores)

    def allowed(self, features: Tensor, budget_ms: Budgets) -> Tensor:
        """(B, S) bool, the settings that are chosen from; arguments as in
        :meth:`decide`."""
        return torch.from_numpy(self._limits(
            self._checked(features), each_budget(budget_ms, len(features))).allowed)

    def feasible(self, features: Tensor, budget_ms: Budgets) -> Tensor:
        """(B,) bool, whether any setting is predicted to fit into the budget;
        arguments as in :meth:`decide`."""
        return torch.from_numpy(self._limits(
            self._checked(features), each_budget(budget_ms, len(features))).feasible)

    def predicted_ms(self, features: Tensor) -> Tensor:
        """(B, S) upper quantile of each setting's latency on this machine, with
        the time of looking and deciding: what a budget is compared with."""
        predicted = self._predicted(self._checked(features))
        return torch.from_numpy(predicted).expand(len(features), -1)

    @property
    def lowest_ms(self) -> float:
        """The lowest budget that a setting is predicted to keep, without looking."""
        return float(self._unseen.min())

    def _predicted(self, features: Tensor) -> np.ndarray:
        """(B, S) of :meth:`predicted_ms`, or (1, S) if it is the same for all."""
        if not self.latency.by_image:
            return self._upper
        upper = self.latency.upper(features) * self.time_scale
        return upper.numpy() + self._added

    def _limits(self, features: Tensor, budgets: tuple[float, ...]) -> Limits:
        """Those of images that are looked at."""
        if not self.latency.by_image:
            return self._bounds(budgets)
        return Limits.of(self._predicted(features), checked_budgets(budgets))

    def _bounds_of(self, budgets: tuple[float, ...]) -> Limits:
        """Those of images whose predicted latencies are the same."""
        return Limits.of(self._upper, checked_budgets(budgets))

    def _encode(self, budgets: tuple[float, ...]) -> Tensor:
        """What :meth:`_encoded_scores` is given of budgets on this machine."""
        return torch.from_numpy(checked_budgets(budgets) / self.time_scale)

    def _encoded_scores(self, features: Tensor, context: Tensor | None,
                        encoded: Tensor) -> np.ndarray:
        """:meth:`scores` of budgets that :meth:`_encode` encoded."""
        return self.scores(features, context, encoded).numpy()

    def _checked(self, features: Tensor) -> Tensor:
        _check_width('features', features, self.header.feature_dim)
        return features.float().cpu()

    def _checked_context(self, context: Tensor | None) -> Tensor | None:
        if context is None:
            if self.header.context_dim:
                refuse('controller', 'context', None,
                       f'(B, {self.header.context_dim}), as in its training')
            return None
        _check_width('context', context, self.header.context_dim)
        return context.float().cpu()


def _check_width(name: str, tensor: Tensor, width: int) -> None:
    if tensor.dim() != 2 or tensor.shape[1] != width:
        refuse('controller', f'{name}.shape', tuple(tensor.shape),
               f'(B, {width}), as in its training')


class LoadedController(BudgetedController):
    """A controller with float weights, in torch, on the CPU.

    Args:
        header: see :class:`BudgetedController`.
        latency: likewise.
        controller: the network.
        blind: see :class:`BudgetedController`.
    """

    def __init__(self, header: ControllerHeader, latency: LatencyModel,
                 controller: Controller, blind: BlindRule | None = None) -> None:
        super().__init__(header, latency, blind)
        self.controller = controller.eval()

    @torch.inference_mode()
    def scores(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor) -> Tensor:
        return self.controller.scores(features, context, budget_ms)

    def _encode(self, budgets: tuple[float, ...]) -> Tensor:
        return self.controller.encoding(super()._encode(budgets))

    @torch.inference_mode()
    def _encoded_scores(self, features: Tensor, context: Tensor | None,
                        encoded: Tensor) -> np.ndarray:
        return self.controller.encoded_scores(features, context, encoded).numpy()


def save_controller(path: str | Path, deployed: LoadedController) -> None:
    """Write a checkpoint: tensors, numbers and strings only."""
    buffer, network = io.BytesIO(), deployed.controller
    torch.save(dict(
        version=VERSION, header=asdict(deployed.header),
        latency=deployed.latency.state_dict(), blind=deployed.blind.state_dict(),
        options=network.options, controller=network.state_dict()), buffer)
    write_atomically(path, buffer.getvalue())


def load_controller(path: str | Path) -> BudgetedController:
    """Read a controller, without running code from the file.

    Args:
        path: of a file of :func:`save_controller`, or an ``.onnx`` file of
            :func:`.export.export`.

    Raises:
        ValueError: the file is missing, or holds no controller.
    """
    if Path(path).suffix == '.onnx':
        # Those who use none need not have onnxruntime.
        from .onnx_controller import OnnxController
        return OnnxController(path)
    state = load_file(path, 'controller')
    try:
        if state['version'] != VERSION:
            raise KeyError(f'version {VERSION}')
        controller = Controller(**state['options'])
        controller.load_state_dict(state['controller'])
        return LoadedController(
            ControllerHeader(**state['header']),
            LatencyModel.from_state_dict(state['latency']), controller,
            BlindRule.from_state_dict(state['blind']))
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f'controller={str(path)!r} is no controller ({error}); accepted: a '
            'file of tools/budget/train.py or tools/budget/export.py.') from error
