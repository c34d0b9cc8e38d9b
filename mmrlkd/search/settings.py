"""What a config says about its search."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmengine.config import Config

from .evaluator import EvaluatorConfig
from .recipe import Vocabulary


@dataclass(frozen=True)
class SearchSettings:
    """The ``search`` of a config.

    With a ``strategy``, candidates are trained and scored one by one; without,
    the config's own training is the search (DARTS-LS, GDAS-LS).

    Attributes:
        metric: key of the metric that scores a student; higher is better.
        strategy: config of a :class:`.strategies.Strategy`.
        evaluator: fields of :class:`.evaluator.EvaluatorConfig` but the
            metric.
        data: overrides of the config while it searches, so that candidates
            are trained and scored on the training split alone.
        executor: ``'local'``, ``'ray'`` or a config.
        workers: candidates at a time; None for the executor's own number.
        staleness: see :func:`.search.run_search`.
        efficiency: what the full pyramid's cost is worth, in points of the
            metric.
        seed: of the strategy.
        then: config to train with what was found, as a path from this one's
            folder; None for this one.
    """
    metric: str
    strategy: Mapping[str, Any] | None = None
    evaluator: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    executor: str | Mapping[str, Any] = 'local'
    workers: int | None = None
    staleness: int = 0
    efficiency: float = 0.
    seed: int = 0
    then: str | None = None

    @classmethod
    def of(cls, cfg: Config) -> 'SearchSettings':
        """Read them.

        Raises:
            ValueError: there is no search, or it is not complete.
        """
        known = {field.name for field in fields(cls)}
        search = cfg.get('search')
        if not search:
            raise ValueError(
                'The config has no search; accepted: search=dict(metric=…, '
                'strategy=…, evaluator=…), as in configs/demo/evolution.py.')
        unknown = set(search) - known
        if unknown:
            raise ValueError(
                f'search has {sorted(unknown)}; accepted: '
                f'{", ".join(sorted(known))}.')
        if 'metric' not in search:
            raise ValueError(
                "search.metric is missing; accepted: the metric's key, e.g. "
                "'coco/bbox_mAP'.")
        settings = cls(**search.to_dict())
        if (settings.strategy is None) != (settings.evaluator is None):
            raise ValueError(
                'search has only one of strategy and evaluator; accepted: '
                'both, or neither where the training itself is the search.')
        return settings

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the recipes that the strategy proposes."""
        strategy = self.strategy or {}
        return Vocabulary(strategy.get('losses') or {},
                          strategy.get('connectors') or {})

    def evaluation(self) -> EvaluatorConfig:
        """How candidates are scored.

        Raises:
            ValueError: a field that is not known, or a bad value.
        """
        try:
            return EvaluatorConfig(
                metric=self.metric, vocabulary=self.vocabulary,
                **(self.evaluator or {}))
        except TypeError as error:
            raise ValueError(
                f'search.evaluator: {error}; accepted: iterations, '
                'shared_iterations, seed.') from error
