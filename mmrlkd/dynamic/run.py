"""Running a batch whose images have different settings."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.dynamic.features import EarlyMaps, StageFeature
from mmrlkd.dynamic.settings import SettingSpace


def run_settings(
    model: nn.Module, batch: dict[str, Any], space: SettingSpace,
    settings: Sequence[int], feature: StageFeature | None = None,
    early: EarlyMaps | None = None,
) -> list:
    """Predictions for a batch, each image in its own setting.

    Images of the same setting run together. Call it inside ``torch.no_grad()``.

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
    if len(set(settings)) == 1:
        return _run(model, inputs, samples, space, settings[0], feature,
                    _continued(space, settings[0], feature, early))
    results: list[Any] = [None] * len(samples)
    for setting in sorted(set(settings)):
        indices = [i for i, each in enumerate(settings) if each == setting]
        members = torch.tensor(indices, device=inputs.device)
        maps = _continued(space, setting, feature, early)
        found = _run(
            model, inputs[members], [samples[i] for i in indices], space, setting,
            feature, maps and maps.take(members))
        for i, sample in zip(indices, found, strict=True):
            results[i] = sample
    return results


def _continued(space: SettingSpace, setting: int, feature: StageFeature | None,
               early: EarlyMaps | None) -> EarlyMaps | None:
    """The maps that a run in a setting goes on from; None if it does not."""
    return early if feature and feature.reusable(space, setting) else None


def _run(model: nn.Module, inputs: Tensor, samples: list, space: SettingSpace,
         setting: int, feature: StageFeature | None, early: EarlyMaps | None
         ) -> list:
    """Predictions for images that all have the same setting."""
    with space.set(setting), feature.reused(early) if (
            feature and early) else nullcontext():
        return model(inputs=inputs, data_samples=samples, mode='predict')
