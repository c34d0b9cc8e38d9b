"""What tells the hooks of a method from those of a user."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmrlkd.distillation import PyramidDistiller


class DistillerHook(Hook):
    """A hook that belongs to a distillation method.

    It needs a :class:`~mmrlkd.distillation.PyramidDistiller`, so it is left
    out where the student is run alone; and it is replaced with the method
    (``--method``), other hooks are not.
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
