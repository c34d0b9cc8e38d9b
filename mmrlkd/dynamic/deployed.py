"""A trained controller as the runtime uses it, and its checkpoint."""

import copy
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from mmrlkd.arguments import check_number, refuse
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.files import load_file

from .controller import Controller
from .latency import LatencyModel
from .settings import SettingSpace
from .table import TableHeader, looking_ms

#: Number of the format, in each checkpoint.
VERSION = 1


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

    Args:
        header: what the controller is for.
        latency: predicts latencies on the machine of the profile.

    Attributes:
        space: the settings.
        looking_ms: (S,) what the image feature adds to each setting, on the machine
            of the profile.
        overhead_ms: time of a decision, on this machine.
        time_scale: latency on this machine divided by that on the machine of the
            profile.
    """

    def __init__(self, header: ControllerHeader, latency: LatencyModel) -> None:
        self.header = header
        self.latency = latency
        self.space = SettingSpace.from_header(header.knobs)
        self.overhead_ms = header.overhead_ms
        self.looking_ms = looking_ms(header.feature, len(self.space))
        self.time_scale = 1.

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
        if overhead_ms is not None:
            other.overhead_ms = check_number(
                'adjusted', 'overhead_ms', overhead_ms, 0)
        if time_scale is not None:
            other.time_scale = check_number(
                'adjusted', 'time_scale', time_scale, 0, open='low')
        return other

    @torch.inference_mode()
    def choose(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor | float) -> Tensor:
        """The setting for each image.

        Args:
            features: (B, F), on any device.
            context: (B, C), or None without context.
            budget_ms: (B,) or one number, > 0; may be infinite.

        Returns:
            (B,) int64 on the CPU, indices into ``space``.

        Raises:
            ValueError: the features are not of the width that was trained with,
                or a budget is no number above 0.
        """
        features, context, budget = self._checked(features, context, budget_ms)
        allowed, _ = self._fitting(features, budget)
        # A network that overflowed must not choose what is forbidden.
        scores = self.scores(features, context, budget / self.time_scale)
        return scores.nan_to_num(nan=0., posinf=0., neginf=0.).masked_fill(
            ~allowed, -torch.inf).argmax(1)

    @torch.inference_mode()
    def allowed(self, features: Tensor, budget_ms: Tensor | float) -> Tensor:
        """(B, S) bool, the settings that are chosen from; arguments as in
        :meth:`choose`."""
        features, _, budget = self._checked(features, None, budget_ms, False)
        return self._fitting(features, budget)[0]

    @torch.inference_mode()
    def feasible(self, features: Tensor, budget_ms: Tensor | float) -> Tensor:
        """(B,) bool, whether any setting is predicted to fit into the budget;
        arguments as in :meth:`choose`."""
        features, _, budget = self._checked(features, None, budget_ms, False)
        return self._fitting(features, budget)[1]

    @torch.inference_mode()
    def predicted_ms(self, features: Tensor) -> Tensor:
        """(B, S) upper quantile of each setting's latency on this machine, with
        the time of looking and deciding: what a budget is compared with."""
        _check_width('features', features, self.header.feature_dim)
        upper = self.latency.upper(features.float().cpu()) + self.looking_ms
        return upper * self.time_scale + self.overhead_ms

    @property
    def lowest_ms(self) -> float:
        """:meth:`predicted_ms` of the cheapest setting on an image of average
        features."""
        upper = self.latency.median * self.latency.ratio + self.looking_ms
        return upper.min().item() * self.time_scale + self.overhead_ms

    def _fitting(self, features: Tensor, budget: Tensor
                 ) -> tuple[Tensor, Tensor]:
        return self.latency.allowed(
            features, (budget - self.overhead_ms) / self.time_scale, self.looking_ms)

    def _checked(self, features: Tensor, context: Tensor | None,
                 budget_ms: Tensor | float, with_context: bool = True
                 ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The arguments of :meth:`choose` on the CPU, the budget as (B,)."""
        _check_width('features', features, self.header.feature_dim)
        if with_context and (context is not None or self.header.context_dim):
            if context is None:
                refuse('controller', 'context', None,
                       f'(B, {self.header.context_dim}), as in its training')
            _check_width('context', context, self.header.context_dim)
            context = context.float().cpu()
        budget = torch.as_tensor(budget_ms, dtype=torch.float32).cpu().expand(
            len(features))
        if not (budget > 0).all():
            refuse('controller', 'budget_ms',
                   budget[~(budget > 0)][0].item(), 'a number of ms > 0')
        return features.float().cpu(), context, budget


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
    """

    def __init__(self, header: ControllerHeader, latency: LatencyModel,
                 controller: Controller) -> None:
        super().__init__(header, latency)
        self.controller = controller.eval()

    def scores(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor) -> Tensor:
        return self.controller.scores(features, context, budget_ms)


def save_controller(path: str | Path, header: ControllerHeader,
                    latency: LatencyModel, controller: Controller) -> None:
    """Write a checkpoint: tensors, numbers and strings only."""
    buffer = io.BytesIO()
    torch.save(dict(
        version=VERSION, header=asdict(header), latency=latency.state_dict(),
        options=controller.options, controller=controller.state_dict()), buffer)
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
            LatencyModel.from_state_dict(state['latency']), controller)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f'controller={str(path)!r} is no controller ({error}); accepted: a '
            'file of tools/budget/train.py or tools/budget/export.py.') from error
