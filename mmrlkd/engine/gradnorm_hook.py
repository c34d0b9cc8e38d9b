"""GradNorm as a hook."""

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.weighting.balancers import GradNorm
from mmrlkd.registry import HOOKS

from .distiller_hook import DistillerHook, distiller_of


@HOOKS.register_module()
class GradNormHook(DistillerHook):
    """The same as ``model.balancer=dict(type='mmrlkd.GradNorm', …)``, for
    configs that add methods by hooks.

    Before the run it sets the balancer of the
    :class:`~mmrlkd.distillation.PyramidDistiller`, which weighs, logs, saves and
    resumes as if its own config had named it.

    Args:
        alpha: see :class:`~mmrlkd.distillation.weighting.balancers.GradNorm`.
        lr: likewise.
        layer: see :class:`~mmrlkd.distillation.weighting.balancing.Balancing`.
        include_task: likewise.
        report_every: likewise.
    """

    def __init__(self, alpha: float = 1.5, lr: float = 1e-2,
                 layer: str | None = None, include_task: bool = False,
                 report_every: int = 0) -> None:
        GradNorm(alpha, lr)  # checks its arguments when the hook is built
        self._balancer = dict(
            type='mmrlkd.GradNorm', alpha=alpha, lr=lr, layer=layer,
            include_task=include_task, report_every=report_every)

    def before_run(self, runner) -> None:
        self.balance(distiller_of(runner))

    def balance(self, model: PyramidDistiller) -> None:
        """Set the balancer of a model.

        Raises:
            ValueError: it does not fit, or the model has one already.
        """
        model.balance(self._balancer)
