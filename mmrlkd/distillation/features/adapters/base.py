"""The interface between the distiller and a task library's models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from mmrlkd.distillation.features.levels import Level, find_levels
from mmrlkd.distillation.features.probing import Probe, find_probe
from mmrlkd.distillation.features.stages import Stages
from mmrlkd.distillation.teacher.necks import EagerNeck, LazyNeck
from mmrlkd.registry import ADAPTERS


class TaskAdapter(ABC):
    """Where a library's model keeps its pyramid and its logits.

    Args:
        model: a model that :meth:`handles` accepts.
        owner: ``'student'`` or ``'teacher'``, for messages.
    """

    task: str
    #: Whether annotations name the objects' boxes.
    has_boxes = False

    def __init__(self, model: nn.Module, owner: str) -> None:
        self.model = model
        self.owner = owner

    @cached_property
    def probe(self) -> Probe:
        """The probe image; see :func:`share_probe`."""
        return find_probe([self])

    def probe_image(self) -> Tensor:
        """(1, C, h, w): an image that the model takes."""
        return self.probe.image(self.backbone)

    @classmethod
    @abstractmethod
    def handles(cls, model: nn.Module) -> bool:
        """Whether this adapter is for ``model``. Must not import the library if
        the model cannot be of it."""

    @property
    def backbone(self) -> nn.Module:
        """Image (n, C, H, W) -> input of the neck or the head."""
        return self.model.backbone

    @property
    @abstractmethod
    def neck(self) -> nn.Module | None:
        """The backbone's output -> tuple of pyramid maps, finest first; None if
        the model has no such part."""

    @cached_property
    def stages(self) -> Stages:
        """The backbone's stage maps."""
        return Stages(
            self.backbone, self.owner, self.probe, self.neck is None)

    @cached_property
    def levels(self) -> dict[str, Level]:
        """All levels by name, see :func:`.levels.find_levels`."""
        return find_levels(self)

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that compute the pyramid: backbone and neck, if any."""
        return [part for part in (self.backbone, self.neck)
                if part is not None]

    def layers(self) -> list[str]:
        """Paths in the model of the layers with a matrix or a kernel as weight:
        those of the neck, then those of the backbone, the last first."""
        # Not normalisation layers, whose weight is a vector.
        paths = {module: path for path, module in self.model.named_modules()}
        return [
            paths[module] for part in reversed(self.parts)
            for module in reversed(list(part.modules()))
            if getattr(getattr(module, 'weight', None), 'ndim', 0) > 1
        ]

    def extract(self, images: Tensor) -> None:
        """Compute the pyramid of ``images`` (B, C, H, W), without the heads."""
        output = self.backbone(images)
        if self.neck is not None:
            self.neck(output)

    def lazy_neck(self, output: Any) -> LazyNeck:
        """The neck on the backbone's ``output``; computes nothing yet."""
        assert self.neck is not None
        return EagerNeck(self.neck, output)

    # -- what only some tasks have ------------------------------------------

    @property
    def logit_layer(self) -> nn.Module | None:
        """The layer that puts out the logits (B, K) or (B, K, h, w) when the
        model computes its loss; None if the task has none."""
        return None

    @property
    def sigmoid_logits(self) -> bool:
        """Whether a sigmoid makes a probability of each logit, and not a softmax
        one distribution of all."""
        return False

    @property
    def label_classes(self) -> int:
        """Classes of the annotated label maps; 0 where annotations are none."""
        return 0

    def run_head(self, features: Any) -> None:
        """Run the head, with :attr:`logit_layer` in it, on the neck's output, or
        on the backbone's if :attr:`neck` is None."""
        raise NotImplementedError

    @property
    def dense_head(self) -> nn.Module | None:
        """A detector's head that scores the classes of all positions, see
        :meth:`score_logits`; None where the task or the head has none."""
        return None

    def score_logits(self, features: Any) -> list[Tensor]:
        """Run :attr:`dense_head` on what the neck put out.

        Returns:
            For each of its levels (B, A, K, h, w): logits of the classes at
            each of A anchors, as :meth:`score_maps` takes them.
        """
        raise NotImplementedError

    def score_maps(self, logits: list[Tensor]) -> list[Tensor]:
        """The probabilities of the K classes, (B, A, K, h, w) for each level.

        Args:
            logits: of :meth:`score_logits`.
        """
        raise NotImplementedError

    def targets(self, samples: list) -> Tensor | None:
        """The annotated classes (B,) or (B, H, W), -1 if there is none; None if
        the annotations have no classes."""
        return None

    def boxes(self, samples: list) -> list[Tensor] | None:
        """(k_i, 4) x1 y1 x2 y2 of each image's objects, in pixels; None if the
        annotations have no boxes."""
        return None


def share_probe(models: Sequence[TaskAdapter], size: int | None) -> None:
    """Probe models with the same image, so that the sizes of their maps can be
    compared.

    Args:
        models: adapters that have not been probed.
        size: height and width of the image; None for one that all of them take.

    Raises:
        ValueError: there is no such image.
    """
    probe = find_probe(models, size)
    for each in models:
        each.probe = probe


def adapt(model: nn.Module, key: str) -> TaskAdapter:
    """Find the adapter of ``model``.

    Args:
        model: a built model.
        key: its config key, for messages.

    Raises:
        ValueError: no adapter handles the model.
    """
    ADAPTERS.import_from_location()
    adapters = ADAPTERS.module_dict.values()
    # The first that accepts the model: `handles` is exact, so the order does not
    # matter among the library's own.
    for adapter in adapters:
        if adapter.handles(model):
            return adapter(model, key)
    known = ', '.join(adapter.task for adapter in adapters)
    raise ValueError(
        f'{key} is a {type(model).__name__}, which has no pyramid known here; '
        f'accepted are models for: {known}.')
