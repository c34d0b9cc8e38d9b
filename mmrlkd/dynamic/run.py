"""Running a batch whose images have different settings."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from mmrlkd.dynamic.features import EarlyMaps, StageFeature
from mmrlkd.dynamic.settings import SettingSpace


@torch.no_grad()
def run_settings(
    model: nn.Module, batch: dict[str, Any], space: SettingSpace,
    settings: Sequence[int], feature: StageFeature | None = None,
    early: EarlyMaps | None = None,
) -> list:
    """Predictions for a batch, each image in its own setting.

    Images of the same setting run together.

    Args:
        model: in eval mode, to which the knobs of ``space`` are bound.
        batch: ``inputs`` (B, C, H, W) and ``data_samples``, B, as
            ``model.data_preprocessor(data, False)`` returns them.
        space: of the settings.
        settings: (B,) of each image.
        feature: what computed ``early``.
        early: see :meth:`.StageFeature.compute`, of this batch. Settings that
            can continue from its stage do.

    Returns:
        The samples of ``batch``, in order, with their predictions.
    """
    inputs, samples = batch['inputs'], batch['data_samples']
    results: list[Any] = [None] * len(samples)
    for setting in sorted(set(settings)):
        indices = [i for i, each in enumerate(settings) if each == setting]
        continues = feature and early and feature.reusable(space, setting)
        images, maps = inputs, early
        if len(indices) < len(samples):
            members = torch.tensor(indices, device=inputs.device)
            images = inputs[members]
            maps = early.take(members) if early and continues else None
        with ExitStack() as stack:
            stack.enter_context(space.set(setting))
            if feature and maps and continues:
                stack.enter_context(feature.reused(maps))
            found = model(
                inputs=images, data_samples=[samples[i] for i in indices],
                mode='predict')
        for i, sample in zip(indices, found, strict=True):
            results[i] = sample
    return results
