"""Measuring latency and quality of every setting on every image."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from mmrlkd.dynamic.budgeted import BudgetedModel
from mmrlkd.dynamic.controller import Controller
from mmrlkd.dynamic.deployed import ControllerHeader, LoadedController
from mmrlkd.dynamic.latency import LatencyModel
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
    anew, so that a slow moment of the machine meets all settings alike. Between
    them run two controllers with random weights that look at the image and then
    choose a given setting, one that continues from the feature's stage and one
    that does not: what they take more than these settings is a decision's time.

    Args:
        parts: the model and what to measure.
        dataset: gives the samples, with annotations.
        collate: makes a batch of them.
        repeats: of each measurement.
        seed: of the order of settings.
        controller: ``hidden`` and ``bins`` of the controllers to come.
    """

    def __init__(self, parts: BudgetParts, dataset: Any, collate: Callable,
                 repeats: int = 5, seed: int = 0,
                 controller: Mapping[str, Any] | None = None) -> None:
        self.parts = parts
        self.dataset = dataset
        self.collate = collate
        self.repeats = repeats
        self.seed = seed
        self.options = dict(controller or {})
        #: By the setting that each of them chooses.
        self._choosers: dict[int, BudgetedModel] = {}
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
        early = self.parts.feature.compute(batch['inputs'], batch['data_samples'])
        if not self._choosers:
            self._choosers = self._new_choosers(early.pooled.shape[1])
        runs: dict[Any, Callable[[], Any]] = {
            setting: partial(self._run, batch, setting) for setting in settings}
        runs |= {('chosen', setting): partial(chooser.predict, batch, math.inf)
                 for setting, chooser in self._choosers.items()}
        times: dict[Any, list[float]] = {name: [] for name in runs}
        generator = random.Random(f'{self.seed} {image}')
        for _ in range(self.repeats):
            for name in generator.sample(list(runs), len(runs)):
                begin = clock_ms(self.device)
                runs[name]()
                times[name].append(clock_ms(self.device) - begin)

        def added(continues: bool) -> list[float]:
            """What a controller of one kind takes more than its setting, if there
            is one."""
            return [
                chosen - given for setting in self._choosers
                if self._continues(setting) == continues
                for chosen, given in zip(times['chosen', setting], times[setting])]

        return ImageProfile(
            image=image, image_id=_name(sample, image), size=area.size,
            difficulty=difficulty, feature=early.pooled[0].tolist(),
            deciding_ms=added(True), looking_ms=added(False),
            latency_ms=[times[setting] for setting in settings],
            quality=[score.quality for score in scores],
            log_prob=[score.log_prob for score in scores])

    def _batch(self, image: int) -> dict[str, Any]:
        """An image, preprocessed and on the device."""
        data = self.collate([self.dataset[image]])
        return self.parts.model.data_preprocessor(data, False)

    def _continues(self, setting: int) -> bool:
        return self.parts.feature.reusable(self.parts.space, setting)

    def _new_choosers(self, features: int) -> dict[int, BudgetedModel]:
        """Controllers of the cheapest settings of both kinds, if there are some."""
        space = self.parts.space
        ones = torch.ones(len(space))
        header = ControllerHeader(space.header(), features, 0, 0., (1., 2.))
        latency = LatencyModel(ones, ones, ones, torch.zeros(features),
                               torch.zeros(features, len(space)), 0.5)
        kinds = {self._continues(setting): setting
                 for setting in reversed(range(len(space)))}
        choosers = {}
        for setting in kinds.values():
            controller = Controller(features, space.sizes, **self.options)
            controller.prior[setting] = 1e6
            choosers[setting] = BudgetedModel(
                self.parts, LoadedController(header, latency, controller))
        return choosers

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
        deciding = _median([each.deciding_ms for each in profiles])
        looking = _median([each.looking_ms for each in profiles])
        sizes = {tuple(each.size) for each in profiles}
        return TableHeader(
            kind='complete', knobs=space.header(),
            quality=self.parts.quality.name, machine=machine, config=config,
            model=model,
            feature=dict(
                feature.describe(),
                # What looking costs, and the settings that need not pay it.
                ms=max(0., looking - deciding), deciding_ms=deciding,
                reused=[setting for setting in range(len(space))
                        if self._continues(setting)]),
            repeats=self.repeats,
            image_size=sizes.pop() if len(sizes) == 1 else None)

    def rows(self, profile: ImageProfile) -> list[dict[str, Any]]:
        """The table's rows of an image, one for each setting."""
        space = self.parts.space
        return [dict(
            image=profile.image, image_id=profile.image_id,
            **space.values(setting),
            latency_ms=median(profile.latency_ms[setting]),
            single_ms=profile.latency_ms[setting][0],
            quality=profile.quality[setting],
            difficulty=profile.difficulty, log_prob=profile.log_prob[setting],
            feature=profile.feature if setting == 0 else None)
            for setting in range(len(space))]


def _median(times: Sequence[Sequence[float]]) -> float:
    """Of all images and repeats, at least 0."""
    return max(0., median([each for some in times for each in some] or [0.]))


def _name(sample: Any, image: int) -> str:
    """The name of an image in its data set."""
    path = sample.get('img_path')
    return str(sample.get('img_id', Path(path).name if path else image))
