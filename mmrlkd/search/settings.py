"""The ``search`` section of a config."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmengine.config import Config

from .evaluator import EvaluatorConfig
from .recipe import Vocabulary


def searches(cfg: Config) -> bool:
    """Whether a config's method searches. A pair's config has a ``search``
    section as well, but only says how to score candidates."""
    search = cfg.get('search') or {}
    return bool(search.get('strategy') or search.get('then'))


def check_searching(cfg: Config) -> None:
    """Refuse to train a selector that searches without held-out images.

    Raises:
        ValueError: the config names none.
    """
    if not searches(cfg) or cfg.search.get('strategy'):
        return
    if not any(hook['type'] == 'mmrlkd.HeldOutHook'
               for hook in cfg.get('custom_hooks') or []):
        raise ValueError(
            f'model.selector is {cfg.model.selector.type}, whose training is '
            'a search and needs held-out images; accepted: the same command '
            'with tools/search.py, which holds them out.')


@dataclass(frozen=True)
class SearchSettings:
    """The ``search`` of a config.

    With a ``strategy``, candidates are trained and scored separately; without,
    the config's own training is the search (DARTS-LS, GDAS-LS). The strategy
    belongs to the method, the scoring of candidates to the pair.

    Attributes:
        metric: key of the metric that scores a student; higher is better.
        strategy: config of a :class:`.strategies.Strategy`.
        evaluator: fields of :class:`.evaluator.EvaluatorConfig` but the
            metric.
        data: overrides of the config during the search, so that candidates are
            trained and scored on the training split only.
        executor: ``'local'``, ``'ray'`` or a config.
        workers: parallel candidates; None for the executor's own number.
        staleness: see :func:`.search.run_search`.
        efficiency: price of the full pyramid's cost, in points of the metric.
        seed: of the strategy.
        then: name of the method that trains with the result; None for the
            searching method.
        held_out: overrides of ``train_dataloader`` for the loader of held-out
            images.
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
    held_out: Mapping[str, Any] | None = None

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
                'evaluator=…), as in configs/demo/detection.py, and a method '
                'that searches, such as --method evolution.')
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
        if settings.strategy is not None and settings.evaluator is None:
            raise ValueError(
                'search has a strategy and no evaluator; accepted: '
                'search.evaluator=dict(iterations=…), which trains a candidate.')
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
