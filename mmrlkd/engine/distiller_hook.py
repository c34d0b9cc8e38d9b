"""The base of hooks that belong to a method, and access to the distiller."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmrlkd.distillation import PyramidDistiller


class DistillerHook(Hook):
    """A hook that belongs to a distillation method.

    ``--method`` replaces these hooks with the method, and keeps all others. They
    need a :class:`~mmrlkd.distillation.PyramidDistiller`, and are left out where
    the student runs alone.
    """


def distiller_in(runner) -> PyramidDistiller | None:
    """The distiller that a Runner trains; None if it trains another model."""
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    return model if isinstance(model, PyramidDistiller) else None


def distiller_of(runner) -> PyramidDistiller:
    """The distiller that a Runner trains.

    Raises:
        ValueError: it trains another model.
    """
    model = distiller_in(runner)
    if model is None:
        raise ValueError(
            f'model is a {type(runner.model).__name__}, which does not distil; '
            "accepted: type='mmrlkd.PyramidDistiller'.")
    return model
