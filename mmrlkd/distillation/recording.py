"""Recording what policies see and what rewards say, without learning from it."""

import random
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS

from mmrlkd.distillation.selection.headroom import Moment
from mmrlkd.distillation.selection.recorded import Recording
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.distillation.selection.selectors import PolicySelector
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


def reward_of(model: PyramidDistiller) -> Reward:
    """The selector's.

    Raises:
        ValueError: it has none that tells images apart.
    """
    reward = getattr(model.selector, 'reward', None)
    if not isinstance(reward, Reward):
        raise ValueError(
            f'model.selector is a {type(model.selector).__name__}, which has '
            'no reward; accepted: one that learns from a reward, such as '
            '--method ppo or gated.')
    return reward


def reward_config(cfg: Config, reward: Reward) -> dict[str, Any]:
    """The reward's type and options, without λ, in plain containers."""
    options = Config(dict(cfg.model.selector.get('reward') or {})).to_dict()
    options.pop('efficiency', None)
    return {**options, 'type': type(reward).__name__}


def efficiency_of(model: PyramidDistiller) -> float:
    """λ, the weight of the cost that the selector charges now: that of its
    reward, or where it holds a mean cost the one that it has found."""
    selector = model.selector
    if (isinstance(selector, PolicySelector)
            and selector.multiplier.mean_cost is not None):
        return float(selector.multiplier.value())
    return reward_of(model).efficiency


def augmented(cfg: Config, dataset: Any, images: int, seed: int,
              times: int) -> Iterator[Iterator[Any]]:
    """Batches of the same training images, once for each augmentation.

    Args:
        cfg: its ``train_dataloader`` says how they are collated.
        dataset: of the training.
        images: how many, drawn at random; all if there are fewer.
        seed: of the images and, plus 1, 2, …, of the augmentations.
        times: number of augmentations.
    """
    loader = cfg.train_dataloader
    collate = pseudo_collate
    if loader.get('collate_fn'):
        collate = FUNCTIONS.get(loader.collate_fn['type'])
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:images]
    size = loader.batch_size

    def batches() -> Iterator[Any]:
        for start in range(0, len(chosen), size):
            yield collate([dataset[int(i)] for i in chosen[start:start + size]])

    for i in range(times):
        seed_all(seed + 1 + i)
        yield batches()


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def record(model: PyramidDistiller, data: Any, reward: Reward,
           update: bool = False) -> Recording:
    """What episodes on a batch show and gain, in training mode; the model
    stays as it is.

    Args:
        model: the distiller.
        data: a batch, as a data loader gives it.
        reward: says the gains.
        update: move the reward's running means first.
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
        gains = reward.gains(signals, update)
        process = model.distillation.begin(
            model.selector, distilled.maps, distilled.losses,
            distilled.descriptions)
        return Recording(
            global_feature=process.state.global_feature,
            level_features=process.state.level_features,
            context=process.state.context.float(),
            level_losses=process.compute_all().float(),
            gains=gains.float(), batch_size=len(gains)).detach()


def record_images(model: PyramidDistiller, reward: Reward,
                  batches: Iterable[Any]) -> Recording:
    """The recording of some batches, on the CPU."""
    return torch.cat([  # type: ignore[return-value]
        record(model, data, reward).cpu() for data in batches])


def warmed_up(model: PyramidDistiller, reward: Reward,
              batches: Iterable[Any]) -> Reward:
    """A copy of a reward, with running means of some batches: the selector's
    own are restored after each of them."""
    reward = deepcopy(reward)
    for data in batches:
        record(model, data, reward, update=True)
    return reward


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
    reward = warmed_up(model, reward, warm_up)
    recordings = [record_images(model, reward, batches)
                  for batches in augmentations]
    moment = Moment(name, *(
        np.stack([part.double().numpy() for part in parts]) for parts in (
            [torch.cat([each.global_feature, each.level_features,
                        each.context], 1) for each in recordings],
            [each.gains for each in recordings])))
    if not (np.isfinite(moment.states).all()
            and np.isfinite(moment.gains).all()):
        raise ValueError(
            f'{name}: states or gains of some images are not finite; '
            'accepted: a student that has not diverged.')
    return moment
