"""Inference under a latency budget, with the interface of mmengine's
inferencers."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mmrlkd.arguments import refuse
from mmrlkd.files import no_code_from_files

from .budgeted import BudgetedModel, Decision, check_model
from .deployed import BudgetedController, load_controller
from .drift import Option, corrected
from .parts import BudgetParts

_OWNER = 'BudgetedInferencer'
#: The inferencer of each library, by the config's default scope.
_INFERENCERS = {
    'mmdet': ('mmdet.apis', 'DetInferencer'),
    'mmseg': ('mmseg.apis', 'MMSegInferencer'),
    'mmpretrain': ('mmpretrain.apis', 'ImageClassificationInferencer'),
}


class BudgetedInferencer:
    """Predictions for images, each within a latency budget::

        infer = BudgetedInferencer('config.py', 'iter_600.pth', 'controller.pth')
        result = infer('image.png', budget_ms=20)
        result['predictions'][0], result['decisions'][0]['values']

    Loading, preprocessing, drawing and the form of predictions are those of the
    library's own inferencer: mmdet's ``DetInferencer``, mmseg's
    ``MMSegInferencer``, mmpretrain's ``ImageClassificationInferencer``. The budget
    is for what lies between: from the preprocessed image on the device to the
    prediction, with the time of the decision. With several images in a batch, it
    is for the time that each of them would take alone.

    Args:
        config: of the model, with a ``budget``; a file or a ``Config``.
        checkpoint: weights of the model.
        controller: file of ``tools/budget/train.py`` or ``export.py``.
        device: of the model; by default the one that is there.
        drift: what to do where this machine's latencies are not those of the
            profile, see :func:`.drift.corrected`.

    Raises:
        ValueError: the controller is for another model, or other knobs; drifted
            latencies are refused.
    """

    def __init__(self, config: str | Path | Config, checkpoint: str | Path,
                 controller: str | Path | BudgetedController,
                 device: str | None = None, drift: Option = 'rescale') -> None:
        cfg = (config if isinstance(config, Config) else
               Config.fromfile(config))
        chooser = (controller if isinstance(controller, BudgetedController)
                   else load_controller(controller))
        check_model(chooser, checkpoint)
        with no_code_from_files():
            self.library = _library_inferencer(cfg, str(checkpoint), device)
        self._model = BudgetedModel(
            BudgetParts.build(self.library.model, cfg.get('budget')), chooser)
        self._model = self._on_this_machine(drift)

    @property
    def controller(self) -> BudgetedController:
        """That is used, with the times of this machine."""
        return self._model.controller

    def __call__(self, inputs: Any, budget_ms: float | Sequence[float],
                 context: Tensor | None = None, batch_size: int = 1,
                 return_datasamples: bool = False, **options: Any
                 ) -> dict[str, list]:
        """Predict.

        Args:
            inputs: a path, an array (H, W, 3) in BGR, a folder, or a list.
            budget_ms: of each image; a number, or one for each. ``inf`` sets no
                limit.
            context: (N, C), one for each image, if the controller has one.
            batch_size: images of a batch that get the same setting run
                together.
            return_datasamples: return the library's samples as predictions.
            **options: of the library's inferencer, such as ``out_dir``.

        Returns:
            ``predictions``, one for each image, ``visualization``, and
            ``decisions``, one dict for each image: see :class:`.Decision`.

        Raises:
            ValueError: a budget is no number, or below what the cheapest setting
                takes; there is no budget or no context for an image.
        """
        images = self.library._inputs_to_list(inputs)
        budgets = self._per_image(budget_ms, len(images))
        if context is not None and len(context) != len(images):
            refuse(_OWNER, 'len(context)', len(context),
                   f'one row for each of {len(images)} images')
        decisions: list[Decision] = []

        def run(data: Any) -> list:
            batch = self._model.preprocess(data)
            now = slice(len(decisions),
                        len(decisions) + len(batch['data_samples']))
            samples, chosen = self._model.predict(
                batch, budgets[now], None if context is None else context[now])
            decisions.extend(chosen)
            return samples

        results = self.library(
            images, run=run, batch_size=batch_size,
            return_datasamples=return_datasamples, **options)
        return dict(_as_lists(results, len(images)),
                    decisions=[asdict(each) for each in decisions])

    def _per_image(self, budget_ms: float | Sequence[float],
                   images: int) -> Tensor:
        """(N,) budgets that can be kept."""
        try:
            budgets = torch.as_tensor(budget_ms, dtype=torch.float32)
        except (TypeError, ValueError):
            refuse(_OWNER, 'budget_ms', budget_ms,
                   'a number of ms, or one for each image')
        if budgets.ndim > 1 or budgets.ndim and len(budgets) != images:
            refuse(_OWNER, 'budget_ms', budget_ms,
                   f'a number of ms, or one for each of {images} images')
        budgets = budgets.expand(images)
        self._model.check_budget(_OWNER, budgets)
        return budgets

    def _on_this_machine(self, drift: Option) -> BudgetedModel:
        """See :func:`.drift.corrected`; the image is noise of the profile's
        size."""
        height, width = self._model.controller.header.image_size or (512, 512)
        image = np.random.default_rng(0).integers(
            0, 256, (height, width, 3), np.uint8)
        corrected_model = [self._model]

        def run(data: Any) -> list:
            batch = self._model.preprocess(data)
            corrected_model[0] = corrected(self._model, batch, drift)
            return self._model.predict_in(batch, [self._model.parts.space.full])

        self.library([image], run=run)
        return corrected_model[0]


def _library_inferencer(cfg: Config, checkpoint: str,
                        device: str | None) -> Any:
    """The library's inferencer of a model, whose ``forward`` calls the function
    that is given to it as ``run``."""
    scope = cfg.get('default_scope')
    if scope not in _INFERENCERS:
        refuse(_OWNER, 'default_scope', scope,
               f'{", ".join(_INFERENCERS)} in the config')
    module, name = _INFERENCERS[scope]
    library: Any = getattr(import_module(module), name)

    class Budgeted(library):
        forward_kwargs = library.forward_kwargs | {'run'}

        def forward(self, inputs: Any, run: Callable[[Any], list],
                    **options: Any) -> list:
            return run(inputs)

    if scope == 'mmpretrain':  # has names of its own
        return Budgeted(cfg, pretrained=checkpoint, device=device)
    return Budgeted(cfg, weights=checkpoint, device=device, show_progress=False)


def _as_lists(results: Any, images: int) -> dict[str, list]:
    """What the libraries return, in one form: mmpretrain returns predictions
    alone, mmseg no list for one image."""
    if not (isinstance(results, dict) and 'predictions' in results):
        results = dict(predictions=results, visualization=[])
    return {key: value if isinstance(value, list) and len(value) in (0, images)
            else [] if value is None else [value]
            for key, value in ((key, results.get(key))
                               for key in ('predictions', 'visualization'))}
