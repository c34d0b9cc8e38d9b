"""The interface between the distiller and a task library's models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from mmrlkd.distillers.necks import EagerNeck, LazyNeck
from mmrlkd.registry import ADAPTERS


class TaskAdapter(ABC):
    """Where a library's model keeps its pyramid.

    Args:
        model: a model that :meth:`handles` accepts.
    """

    task: str

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @classmethod
    @abstractmethod
    def handles(cls, model: nn.Module) -> bool:
        """Whether this adapter knows ``model``; must not import its library
        when the model cannot come from it."""

    @property
    @abstractmethod
    def backbone(self) -> nn.Module:
        """Image (n, 3, H, W) -> tuple of stage maps, finest first."""

    @property
    @abstractmethod
    def neck(self) -> nn.Module | None:
        """Stage maps -> tuple of pyramid maps, finest first; or None."""

    def layers(self) -> list[str]:
        """Paths, in the model, of the layers whose weight is a matrix or a
        kernel: those of the neck, then those of the backbone, last first."""
        paths = {module: path for path, module in self.model.named_modules()}
        return [
            paths[module] for part in (self.neck, self.backbone)
            if part is not None for module in reversed(list(part.modules()))
            if getattr(getattr(module, 'weight', None), 'ndim', 0) > 1
        ]

    def extract(self, images: Tensor) -> None:
        """Run what the pyramid of ``images`` (B, 3, H, W) needs, no heads."""
        stages = self.backbone(images)
        if self.neck is not None:
            self.neck(stages)

    def lazy_neck(self, stages: Sequence[Tensor]) -> LazyNeck:
        """The neck on the backbone's maps ``stages``, as lazy as it can be."""
        return EagerNeck(self.neck, stages)


def adapt(model: nn.Module, key: str) -> TaskAdapter:
    """Find the adapter of ``model``.

    Args:
        model: a built model.
        key: the config key it came from, for the message.

    Raises:
        ValueError: no adapter handles the model.
    """
    ADAPTERS.import_from_location()
    adapters = ADAPTERS.module_dict.values()
    for adapter in adapters:
        if adapter.handles(model):
            return adapter(model)
    known = ', '.join(adapter.task for adapter in adapters)
    raise ValueError(
        f'{key} is a {type(model).__name__}, which has no pyramid known here; '
        f'accepted are models for: {known}.')
