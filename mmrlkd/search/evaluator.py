"""Scoring a candidate: train a student by its recipe for a short time."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmrlkd.arguments import check_integer
from mmrlkd.engine.isolated import isolated_runner

from .recipe import Outcome, Recipe, Vocabulary


@dataclass(frozen=True)
class EvaluatorConfig:
    """How candidates are scored.

    With ``shared_iterations`` (weight sharing), one student is trained with all
    levels first, and each candidate continues from its weights. Without, each
    candidate is trained from the weights that the student's config gives it.

    Attributes:
        metric: key of the metric, as the evaluator reports it; higher is
            better.
        iterations: of each candidate's training; the learning rate is warmed up
            over the first tenth and follows a cosine to 0.
        shared_iterations: of the shared student's training; 0 for none.
        seed: of all candidates, so that they differ in the recipe only.
        vocabulary: of the recipes.
    """
    metric: str
    iterations: int
    shared_iterations: int = 0
    seed: int = 0
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    def __post_init__(self) -> None:
        check_integer('search.evaluator', 'iterations', self.iterations, 1)
        check_integer('search.evaluator', 'shared_iterations',
                      self.shared_iterations, 0)


def take_budget(model: dict[str, Any]) -> float | None:
    """Take the budget out of a distiller's config; None if there is none. A search
    begins with all levels for every image; its recipes keep the budget."""
    return model.pop('budget', None)


def apply_recipe(model: Mapping[str, Any], recipe: Recipe,
                 vocabulary: Vocabulary) -> dict[str, Any]:
    """The config of a distiller that distils every image by a recipe.

    Args:
        model: of the distiller, with any selector.
        recipe: names at least one level.
        vocabulary: of the recipe.
    """
    levels: dict[str, dict[str, Any]] = {}
    for level in recipe.levels:
        own: dict[str, Any] = {}
        if level.teachers != (level.level, ):
            own['teachers'] = list(level.teachers)
        if level.loss is not None:
            own['loss'] = dict(vocabulary.losses[level.loss])
        if level.connector is not None:
            own['connector'] = dict(vocabulary.connectors[level.connector])
        if own:
            levels[level.level] = own
    # The candidate's recipe replaces the config's.
    plain = {key: value for key, value in model.items() if key != 'recipe'}
    if levels:
        plain['recipe'] = levels
    plain['selector'] = dict(
        type='mmrlkd.FixedSelector', levels=list(recipe.names))
    return plain


def shorten(cfg: Config, iterations: int, val_interval: int) -> None:
    """Put a whole schedule into few iterations, whatever the config counts: a
    warm-up over the first tenth, then a cosine to 0.

    Args:
        cfg: changed in place.
        iterations: of the training.
        val_interval: iterations between evaluations.
    """
    warm = max(iterations // 10, 1)
    cfg.train_cfg = dict(
        type='mmrlkd.SeededIterBasedTrainLoop', max_iters=iterations,
        val_interval=val_interval)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0,
             end=warm),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=warm,
             end=max(iterations, warm + 1), eta_min=0)]
    cfg.log_processor = dict(type='LogProcessor', by_epoch=False)


class ShortTraining:
    """Trains a student by a recipe and scores it on the search's split.

    Picklable; called in this process or in another.

    Args:
        cfg: a distillation config with the data of the search: it trains and
            scores on images of the training split.
        config: length of the training, initial weights and metric.
        work_dir: folder for the shared student and each candidate's log.
    """

    def __init__(self, cfg: Config, config: EvaluatorConfig,
                 work_dir: Path) -> None:
        self._cfg = cfg.to_dict()
        self.config = config
        self._work_dir = Path(work_dir).resolve()

    @property
    def shared(self) -> Path | None:
        """File of the shared weights; None if there are none."""
        return (self._work_dir / f'shared_{self.config.shared_iterations}.pth'
                if self.config.shared_iterations else None)

    def prepare(self) -> Outcome:
        """Train the shared student, unless its file exists.

        Returns:
            What its training cost, now or earlier; 0 if no weights are shared.
        """
        # The cost is stored in the file: a resumed search reports the whole cost.
        if self.shared is None:
            return Outcome(None, 0, 0.)
        if self.shared.is_file():
            spent = torch.load(self.shared, weights_only=True)['spent']
            return Outcome(None, spent['images'], spent['seconds'])
        with self._runner('shared', None, self.config.shared_iterations,
                          None) as (runner, begin):
            runner.train()
            batch = runner.train_dataloader.batch_size
            spent = dict(
                images=self.config.shared_iterations * batch,
                seconds=time.perf_counter() - begin)
            # Renamed when complete: a killed search must not find a part.
            unfinished = self.shared.with_suffix('.partial')
            torch.save(dict(state_dict=runner.model.state_dict(),
                            spent=spent), unfinished)
            unfinished.replace(self.shared)
        return Outcome(None, spent['images'], spent['seconds'])

    def __call__(self, recipe: Recipe) -> Outcome:
        """Train and score."""
        with self._runner(_folder(recipe), recipe, self.config.iterations,
                       self.shared) as (runner, begin):
            runner.train()
            metrics = runner.val()
            images = (
                self.config.iterations * runner.train_dataloader.batch_size
                + len(runner.val_dataloader.dataset))
            score = metrics.get(self.config.metric)
            return Outcome(
                None if score is None else float(score), images,
                time.perf_counter() - begin,
                None if score is not None else self._no_score(metrics))

    def _no_score(self, metrics: Mapping[str, Any]) -> str:
        if metrics:
            return (f'search.metric is {self.config.metric!r}; accepted: '
                    f'{", ".join(metrics)}.')
        return ('The evaluator reports nothing: the student predicts nothing '
                'yet; accepted: more of search.evaluator.iterations.')

    @contextmanager
    def _runner(self, name: str, recipe: Recipe | None, iterations: int,
                start: Path | None) -> Iterator[tuple[Runner, float]]:
        """A Runner whose output goes to a file; see :func:`isolated_runner`.
        Without a recipe it distils all levels, whatever the budget."""
        begin = time.perf_counter()
        with isolated_runner(
                self._config_of(recipe, iterations, start),
                self._work_dir / 'candidates' / name) as runner:
            yield runner, begin

    def _config_of(self, recipe: Recipe | None, iterations: int,
                   start: Path | None) -> Config:
        cfg = Config(self._cfg)
        if recipe is None:
            take_budget(cfg.model)
            recipe = Recipe.subset(cfg.model.levels)
        cfg.model = apply_recipe(cfg.model, recipe, self.config.vocabulary)
        # With the learning rate of the long training's beginning, candidates would
        # be ranked before they converge.
        shorten(cfg, iterations, val_interval=iterations + 1)  # __call__ validates
        # Hooks of the method and the user's are for the long training.
        cfg.custom_hooks = [dict(type='mmrlkd.SeedHook')]
        cfg.default_hooks = dict(
            cfg.default_hooks, checkpoint=None,
            run_state=dict(type='mmrlkd.RunStateHook'))
        cfg.visualizer = dict(type='Visualizer', vis_backends=[])  # no files
        cfg.randomness = dict(seed=self.config.seed)
        cfg.load_from = None if start is None else str(start)
        cfg.resume = False
        return cfg


def _folder(recipe: Recipe) -> str:
    """Folder name of a recipe, such as ``P3-P4-cwd_P5``."""
    return '_'.join(
        '-'.join(filter(None, (
            level.level, *(name for name in level.teachers
                           if name != level.level),
            level.loss, level.connector)))
        for level in recipe.levels)
