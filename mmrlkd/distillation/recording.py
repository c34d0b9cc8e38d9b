"""Recording what policies see and what rewards say, without learning from it."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmrlkd.distillation.selection.headroom import Moment
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.structures import Phase

from .distiller import PyramidDistiller
from .step import forward, measure, unchanged

#: All levels for all images, and nobody learns.
ALL_LEVELS = Phase('all levels', share=1.0, choose=False, learn_every=0)


def train_all_levels(model: PyramidDistiller, batches: Iterable[Any],
                     optim_wrapper: OptimWrapper) -> None:
    """Distil all levels of some batches, as in the warm-up of a training."""
    model.train()
    model.schedule.set(ALL_LEVELS, 0, 0.0)
    for data in batches:
        model.train_step(data, optim_wrapper)


def record(model: PyramidDistiller, data: Any, reward: Reward,
           update: bool = False) -> tuple[Tensor, Tensor]:
    """States and gains of a batch, in training mode; the model stays as it is.

    Args:
        model: the distiller.
        data: a batch, as a data loader gives it.
        reward: says the gains.
        update: move the reward's running means first.

    Returns:
        (B, D), what the selector sees before its first step, features and
        context; (B, 2^L), see :meth:`.Reward.gains`.
    """
    model.train()
    model.schedule.set(ALL_LEVELS, 0, 0.0)
    plan = replace(model.schedule.plan(), update_student=True)
    batch = model.data_preprocessor(data, True)
    images, samples = batch['inputs'], batch['data_samples']
    with unchanged(model), torch.enable_grad():
        output, distilled = forward(
            model, plan, images, samples, reward.needs_gradients)
        assert distilled is not None, 'no levels are distilled'
        signals = measure(model, output, distilled, images, samples, None,
                          reward.needs_gradients)
        if update:
            reward.update(signals)
        gains = reward.gains(signals)
        state = model.distillation.begin(
            model.selector, distilled.maps, distilled.losses,
            distilled.descriptions).state
    return torch.cat([state.global_feature, state.level_features,
                      state.context], dim=1).detach(), gains.detach()


def record_moment(model: PyramidDistiller, reward: Reward, name: str,
                  warm_up: Iterable[Any],
                  augmentations: Iterable[Iterable[Any]]) -> Moment:
    """A moment of the training, for :func:`.headroom.analyse`.

    Args:
        model: the distiller, as it is then.
        reward: says the gains; a copy is used.
        name: of the moment.
        warm_up: batches that the reward's running means move towards.
        augmentations: batches of the same images in the same order, once for
            each augmentation.

    Raises:
        ValueError: a state or a gain is not finite.
    """
    # Not the selector's own, whose running means are restored each time.
    reward = deepcopy(reward)
    for data in warm_up:
        record(model, data, reward, update=True)
    states: list[np.ndarray] = []
    gains: list[np.ndarray] = []
    for batches in augmentations:
        pairs = [record(model, data, reward) for data in batches]
        for kept, parts in zip((states, gains), zip(*pairs, strict=True),
                               strict=True):
            kept.append(torch.cat(parts).double().cpu().numpy())
    moment = Moment(name, np.stack(states), np.stack(gains))
    if not (np.isfinite(moment.states).all()
            and np.isfinite(moment.gains).all()):
        raise ValueError(
            f'{name}: states or gains of some images are not finite; '
            'accepted: a student that has not diverged.')
    return moment
