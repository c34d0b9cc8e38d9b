"""Searches whose training is the search (DARTS-LS, GDAS-LS)."""

import time
from copy import deepcopy
from math import ceil
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmrlkd.distillation.selection.selectors import SubsetSearch
from mmrlkd.engine.distiller_hook import distiller_of
from mmrlkd.engine.run_state_hook import add_run_state_hook

from .history import History, Trial
from .recipe import Outcome, Recipe
from .settings import SearchSettings


class TrialHook(Hook):
    """Adds to the history, after each validation, the levels that the selector
    would choose now.

    The score is that of the one student that the search trains, with the mixture
    of levels so far. So, unlike scores of separately trained candidates, the
    scores rise during the training, and the result is the last choice.

    Args:
        history: to add to.
        metric: key of the metric.
    """

    priority = 'VERY_LOW'

    def __init__(self, history: History, metric: str) -> None:
        self._history = history
        self._metric = metric

    def before_train(self, runner: Runner) -> None:
        self._begin = time.perf_counter()

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        if self._metric not in metrics:
            raise ValueError(
                f'search.metric is {self._metric!r}; accepted: '
                f'{", ".join(metrics)}.')
        model = distiller_of(runner)
        recipe = Recipe.subset(model.selector.best_levels())
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        position = runner.epoch if by_epoch else runner.iter
        # Numbered by the position in training and not counted, so that a repeated
        # validation has the number that it had. The last one may come early, at
        # the end of the training: ceil.
        number = ceil(position / runner.train_loop.val_interval) - 1
        if self._history.get(number) is not None:
            return  # a resumed run repeats this validation
        now = time.perf_counter()
        scored = (number + 1) * len(runner.val_dataloader.dataset)
        self._history.add(Trial(
            number, recipe, Outcome(
                float(metrics[self._metric]),
                model.search_images + scored - self._history.images,
                now - self._begin),
            recipe.cost(model.distillation.space)))
        self._begin = now


def hold_out(cfg: Config, settings: SearchSettings) -> None:
    """Give a config the data of its search and a :class:`HeldOutHook`, in place.

    Raises:
        ValueError: the config names no held-out images.
    """
    if settings.data:
        cfg.merge_from_dict(dict(settings.data))
    if any(hook['type'] == 'mmrlkd.HeldOutHook'
           for hook in cfg.get('custom_hooks') or []):
        return
    if not settings.held_out:
        raise ValueError(
            f'model.selector is {cfg.model.selector.type!r}, and search has '
            'no strategy and no held_out; accepted: a strategy; or, for a '
            'selector that searches (DARTSSelector, GDASSelector), held_out '
            'with what differs from train_dataloader, such as '
            'dict(dataset=dict(ann_file=…)).')
    # As the training's data loader, but for what `held_out` overrides.
    loader = Config(dict(dataloader=deepcopy(cfg.train_dataloader)))
    loader.merge_from_dict(dict(dataloader=dict(settings.held_out)))
    # Endless: the number of batches is that of the training's iterations.
    loader.dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='mmrlkd.HeldOutHook', dataloader=loader.dataloader)]


def search_in_training(cfg, history: Path, metric: str) -> History:
    """Train by a config whose selector searches, or continue its training.

    Args:
        cfg: of the training.
        history: path of the file of JSON lines.
        metric: key of the metric.

    Raises:
        ValueError: the selector is not one that searches.
    """
    add_run_state_hook(cfg)
    runner = Runner.from_cfg(cfg)
    selector = distiller_of(runner).selector
    if not isinstance(selector, SubsetSearch):
        raise ValueError(
            f'model.selector is a {type(selector).__name__} and search has no '
            'strategy; accepted: a strategy, or a selector that searches '
            '(DARTSSelector, GDASSelector).')
    record = History.open(history, dict(
        strategy=cfg.model.selector.to_dict(), seed=runner.seed,
        efficiency=0., about=dict(metric=metric)))
    runner.register_hook(TrialHook(record, metric))
    runner.train()
    return record
