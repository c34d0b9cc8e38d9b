"""A trained controller as the runtime uses it, and its checkpoint."""

import copy
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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
from .settings import SettingSpace
from .table import TableHeader, looking_ms

#: Number of the format, in each checkpoint.
VERSION = 2


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


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen for B images.

    Attributes:
        settings: (B,) int64.
        predicted_ms: (B,) upper quantile of their latency, with the time of the
            decision.
        feasible: (B,) bool, whether a setting is predicted to fit into the budget.
    """
    settings: np.ndarray
    predicted_ms: np.ndarray
    feasible: np.ndarray

    @classmethod
    def of(cls, settings: np.ndarray, predicted_ms: np.ndarray,
           feasible: np.ndarray) -> Self:
        """That of some settings, with what is predicted of all: (B, S), or (1, S)
        if it is the same for each image."""
        images = 0 if len(predicted_ms) == 1 else np.arange(len(settings))
        return cls(settings, predicted_ms[images, settings], feasible)

    def where(self, condition: np.ndarray, other: 'Choice') -> 'Choice':
        """This one where a condition (B,) holds, and another one elsewhere."""
        return Choice(*(np.where(condition, mine, theirs) for mine, theirs in (
            (self.settings, other.settings),
            (self.predicted_ms, other.predicted_ms),
            (self.feasible, other.feasible))))


class BudgetedController(ABC):
    """Chooses a setting for each image.

    Settings whose predicted upper quantile of the latency, with the time of the
    decision itself, exceeds the budget are not chosen. Where this leaves none, the
    cheapest one is.

    This runs for each image, so numbers are numpy's, which are faster than torch's
    where there are few of them.

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
        self._blindly: tuple[list[float], np.ndarray, Choice] | None = None

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
        other._blindly = None
        return other

    def blindly(self, budget_ms: Tensor) -> tuple[np.ndarray, Choice]:
        """:meth:`looks` and :meth:`unseen` of budgets (B,), which are kept for the
        next images: these often have the same budgets."""
        budget = budget_ms.tolist()
        if self._blindly is None or self._blindly[0] != budget:
            self._blindly = budget, self.looks(budget_ms), self.unseen(budget_ms)
        return self._blindly[1:]

    def looks(self, budget_ms: Tensor | float) -> np.ndarray:
        """(B,) bool, whether images of these budgets, (B,) or one number, are worth
        looking at: :meth:`choose` is for them, and :meth:`unseen` for the others.

        It is also not where at most one setting would be left to choose.
        """
        budget = _budgets(budget_ms, None)
        left = (self._unseen + self._added <= budget[:, None]).sum(1)
        return self.blind.looks_at(budget / self.time_scale) & (left > 1)

    def unseen(self, budget_ms: Tensor | float) -> Choice:
        """What is chosen for images that nobody has looked at.

        Args:
            budget_ms: (B,) or one number.
        """
        budget = _budgets(budget_ms, None)
        allowed, feasible = _fitting(self._unseen, budget)
        return Choice.of(self.blind.best(allowed), self._unseen, feasible)

    def choose(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor | float) -> Tensor:
        """:attr:`Choice.settings` of :meth:`decide`, (B,) int64 on the CPU."""
        return torch.from_numpy(self.decide(features, context, budget_ms).settings)

    def decide(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor | float) -> Choice:
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
        budget = _budgets(budget_ms, len(features))
        predicted = self._predicted(features)
        allowed, feasible = _fitting(predicted, budget)
        scores = self.scores(
            features, context, torch.from_numpy(budget / self.time_scale)).numpy()
        # A network that overflowed must not choose what is forbidden.
        scores = np.where(np.isfinite(scores), scores, 0.)
        return Choice.of(
            np.where(allowed, scores, -np.inf).argmax(1), predicted, feasible)

    def allowed(self, features: Tensor, budget_ms: Tensor | float) -> Tensor:
        """(B, S) bool, the settings that are chosen from; arguments as in
        :meth:`decide`."""
        return torch.from_numpy(_fitting(
            self._predicted(self._checked(features)),
            _budgets(budget_ms, len(features)))[0])

    def feasible(self, features: Tensor, budget_ms: Tensor | float) -> Tensor:
        """(B,) bool, whether any setting is predicted to fit into the budget;
        arguments as in :meth:`decide`."""
        return torch.from_numpy(_fitting(
            self._predicted(self._checked(features)),
            _budgets(budget_ms, len(features)))[1])

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


def _budgets(budget_ms: Tensor | float, images: int | None) -> np.ndarray:
    """(B,) float32, of one number for each of B images, or for all."""
    given = budget_ms.cpu().numpy() if isinstance(budget_ms, Tensor) else budget_ms
    budget: np.ndarray = np.asarray(given, np.float32)
    if budget.ndim == 0:
        budget = np.full(images or 1, budget)
    if not (budget > 0).all():
        refuse('controller', 'budget_ms', float(budget[~(budget > 0)][0]),
               'a number of ms > 0')
    return budget


def _fitting(predicted: np.ndarray, budget: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:
    """The settings that fit into budgets (B,), by their predicted latencies (B, S)
    or (1, S).

    Returns:
        (B, S) bool; where none does, the cheapest one. (B,) bool, whether any does.
    """
    fits = np.asarray(predicted <= budget[:, None])
    feasible = np.asarray(fits.any(1))
    if not feasible.all():
        cheapest = predicted == predicted.min(1, keepdims=True)
        fits = np.where(feasible[:, None], fits, cheapest)
    return fits, feasible


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
