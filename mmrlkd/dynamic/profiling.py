"""Measuring latency and quality of every setting on every image."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from mmrlkd.dynamic.libraries import find_library
from mmrlkd.dynamic.machine import clock_ms
from mmrlkd.dynamic.measured import ImageProfile
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.dynamic.table import TableHeader


class Profiler:
    """Measures one image at a time.

    The clock runs from the preprocessed image on the device to the prediction:
    loading and normalising are not in it, NMS and all else that the model's
    ``predict`` does is. Of each image, all settings run once for the quality,
    which also warms up, and then ``repeats`` times in an order that is shuffled
    anew, so that a slow moment of the machine meets all settings alike.

    Args:
        parts: the model and what to measure.
        dataset: gives the samples, with annotations.
        collate: makes a batch of them.
        repeats: of each measurement.
        seed: of the order of settings.
    """

    def __init__(self, parts: BudgetParts, dataset: Any, collate: Callable,
                 repeats: int = 5, seed: int = 0) -> None:
        self.parts = parts
        self.dataset = dataset
        self.collate = collate
        self.repeats = repeats
        self.seed = seed
        self.library = find_library(parts.model)
        self.device = next(parts.model.parameters()).device

    def images(self, number: int) -> list[int]:
        """Indices of the calibration images, in the order of measuring; those
        of a smaller ``number`` come first."""
        order = np.random.default_rng(self.seed).permutation(len(self.dataset))
        return order[:number].tolist()

    def warm_up(self, image: int) -> None:
        """Run every setting once.

        Raises:
            ValueError: one does not run on this model.
        """
        batch = self._batch(image)
        for setting in range(len(self.parts.space)):
            try:
                self._run(batch, setting)
            except (RuntimeError, AssertionError, IndexError) as error:
                raise ValueError(
                    f'The model does not run with '
                    f'{self.parts.space.describe(setting)} ({error}); accepted: '
                    'values of budget.knobs that it can run with.') from error

    @torch.no_grad()
    def measure(self, image: int) -> ImageProfile:
        """Measure an image.

        Args:
            image: index in the data set.

        Raises:
            ValueError: it has no annotation.
        """
        batch = self._batch(image)
        sample = batch['data_samples'][0]
        area = self.library.area(sample, batch['inputs'])
        difficulty = self.parts.quality.difficulty(sample)
        settings = range(len(self.parts.space))
        scores = [self.parts.quality(self._run(batch, setting))
                  for setting in settings]
        early = self._feature(batch)
        latency: list[list[float]] = [[] for _ in settings]
        feature: list[float] = []
        generator = random.Random(f'{self.seed} {image}')
        for _ in range(self.repeats):
            order = [-1, *settings]  # -1 for the feature
            generator.shuffle(order)
            for setting in order:
                begin = clock_ms(self.device)
                if setting < 0:
                    self._feature(batch)
                else:
                    self._run(batch, setting)
                time = clock_ms(self.device) - begin
                (feature if setting < 0 else latency[setting]).append(time)
        return ImageProfile(
            image=image, image_id=_name(sample, image), size=area.size,
            difficulty=difficulty, feature=early.pooled[0].tolist(),
            feature_ms=feature, latency_ms=latency,
            quality=[score.quality for score in scores],
            log_prob=[score.log_prob for score in scores])

    def _batch(self, image: int) -> dict[str, Any]:
        """An image, preprocessed and on the device."""
        data = self.collate([self.dataset[image]])
        return self.parts.model.data_preprocessor(data, False)

    def _feature(self, batch: dict[str, Any]) -> Any:
        return self.parts.feature.compute(
            batch['inputs'], batch['data_samples'])

    @torch.no_grad()
    def _run(self, batch: dict[str, Any], setting: int) -> Any:
        """The sample with its prediction in a setting."""
        with self.parts.space.set(setting):
            return self.parts.model(**batch, mode='predict')[0]

    # -- the table ------------------------------------------------------------

    def header(self, profiles: Sequence[ImageProfile], machine: dict[str, Any],
               config: str, model: str) -> TableHeader:
        """That of the table of some images.

        Args:
            profiles: of the images.
            machine: see :func:`.describe_machine`.
            config: path of the model's config.
            model: SHA-256 of its checkpoint, in hex.
        """
        space, feature = self.parts.space, self.parts.feature
        sizes = {tuple(each.size) for each in profiles}
        return TableHeader(
            kind='complete', knobs=space.header(),
            quality=self.parts.quality.name, machine=machine, config=config,
            model=model,
            feature=dict(
                feature.describe(),
                # What looking costs, and the settings that need not pay it.
                ms=median(median(each.feature_ms) for each in profiles),
                reused=[setting for setting in range(len(space))
                        if feature.reusable(space, setting)]),
            repeats=self.repeats,
            image_size=sizes.pop() if len(sizes) == 1 else None)

    def rows(self, profile: ImageProfile) -> list[dict[str, Any]]:
        """The table's rows of an image, one for each setting."""
        space = self.parts.space
        return [dict(
            image=profile.image, image_id=profile.image_id,
            **space.values(setting),
            latency_ms=median(profile.latency_ms[setting]),
            quality=profile.quality[setting],
            difficulty=profile.difficulty, log_prob=profile.log_prob[setting],
            feature=profile.feature if setting == 0 else None)
            for setting in range(len(space))]


def _name(sample: Any, image: int) -> str:
    """The name of an image in its data set."""
    path = sample.get('img_path')
    return str(sample.get('img_id', Path(path).name if path else image))
