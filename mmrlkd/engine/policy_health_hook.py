"""Warnings about a collapsed policy."""

from collections import deque

from mmrlkd.arguments import check_integer
from mmrlkd.registry import HOOKS

from .distiller_hook import DistillerHook, distiller_of


@HOOKS.register_module()
class PolicyHealthHook(DistillerHook):
    """Warns when a learning policy collapses.

    It reads the scalars that the distiller logs, and warns if all images get the
    same levels, or if the entropy is near 0 early in the learning. Each warning
    is given once and names the options to change.

    Args:
        window: number of last iterations that are examined.
        early: share of the learning before which a low entropy is a warning.
        min_entropy: mean entropy of a decision, in nats, below which it is low.
    """

    priority = 'LOW'

    def __init__(self, window: int = 50, early: float = 0.5,
                 min_entropy: float = 0.01) -> None:
        self._window = check_integer('PolicyHealthHook', 'window', window, 1)
        self._rates: deque[list[float]] = deque(maxlen=window)
        self._entropy: deque[float] = deque(maxlen=window)
        self._early = early
        self._min_entropy = min_entropy
        self._warned: set[str] = set()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None,
                         outputs: dict | None = None) -> None:
        outputs = outputs or {}
        if 'policy_entropy' not in outputs:  # nothing was learned
            return
        # In a warm-up from which it learns, the policy's choice is not distilled.
        if distiller_of(runner).schedule.phase.choose:
            self._rates.append([float(value) for key, value in outputs.items()
                                if key.startswith('select.')])
        self._entropy.append(float(outputs['policy_entropy']))
        if len(self._entropy) < self._window:
            return
        # `select.…` are means over the images of a batch: 0 or 1 if all images
        # have the same levels.
        if (len(self._rates) == self._window
                and all(rate in (0.0, 1.0) for rate in self._rates[0])
                and len(set(map(tuple, self._rates))) == 1):
            self._warn(runner, 'collapsed', (
                'The policy has collapsed: it gave every image of the last '
                f'{len(self._rates)} iterations the same levels. Lower '
                'model.selector.learner.lr, raise its entropy_coef (GRPO: '
                'kl_coef), lower '
                'model.selector.reward.efficiency (λ), or raise '
                'model.selector.mean_cost where that is set, if only the '
                'cheapest level is left, or compare with the fixed subset, '
                'which costs less to train.'))
        # Late in the learning a low entropy is expected: the policy has converged.
        mean = sum(self._entropy) / len(self._entropy)
        if (mean < self._min_entropy
                and outputs['policy_progress'] < self._early):
            self._warn(runner, 'entropy', (
                f'The entropy of the policy is {mean:.4f} nats after '
                f"{float(outputs['policy_progress']):.0%} of its learning: "
                'it no longer explores. Lower model.selector.learner.lr, or '
                'raise its entropy_coef (GRPO: kl_coef).'))

    def _warn(self, runner, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            runner.logger.warning(message)
