"""Records states and gains of images, for tools, without any learning."""

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

from mmrlkd.distillation.selection.recorded import Recording
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.distillation.selection.selectors import PolicySelector
from mmrlkd.structures import Phase

from .distiller import PyramidDistiller
from .evaluation import unchanged
from .step import forward, measure

#: All levels for all images; the selector does not learn.
ALL_LEVELS = Phase('all levels', share=1.0, choose=False, learn_every=0)


def train_all_levels(model: PyramidDistiller, batches: Iterable[Any],
                     optim_wrapper: OptimWrapper) -> None:
    """Distil all levels of some batches, as in the warm-up of a training."""
    model.train()
    model.schedule.set(ALL_LEVELS, 0, 0.0)
    for data in batches:
        model.train_step(data, optim_wrapper)


def reward_of(model: PyramidDistiller) -> Reward:
    """The selector's reward.

    Raises:
        ValueError: the selector has none.
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
    """The present λ of the selector: that of its reward, or the one that it has
    fitted to a mean cost."""
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
    # Not the Runner's data loader: its order of images and its random numbers
    # depend on workers and sampler.
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
    """The states and gains of a batch, in training mode. The model does not
    change.

    Args:
        model: the distiller.
        data: a batch from a data loader.
        reward: computes the gains.
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
    """A copy of a reward, with running means over some batches. A copy, because
    :func:`record` restores the buffers of the selector's own reward."""
    reward = deepcopy(reward)
    for data in batches:
        record(model, data, reward, update=True)
    return reward
