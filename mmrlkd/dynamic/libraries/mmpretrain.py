"""Image classifiers of mmpretrain."""

from collections.abc import Sequence

import torch
from mmpretrain.models import ImageClassifier, MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from .base import Area, Library


class Classification(Library):
    """Image classifiers of mmpretrain."""

    task = 'classification'
    quality = 'mmrlkd.Correctness'

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        return isinstance(model, ImageClassifier)

    @property
    def padding(self) -> tuple[int, float]:
        preprocessor = self.model.data_preprocessor
        return preprocessor.pad_size_divisor, preprocessor.pad_value

    def area(self, sample: DataSample, inputs: Tensor) -> Area:
        # Samples do not say what is padding; classifiers are fed without.
        return Area(0, 0, *inputs.shape[-2:])

    def view(self, sample: DataSample, area: Area, factor: tuple[float, float],
             canvas: tuple[int, int], whole: bool) -> DataSample:
        return DataSample(metainfo={**sample.metainfo, 'img_shape': canvas})

    def adopt(self, samples: list, predictions: list) -> list:
        for sample, prediction in zip(samples, predictions, strict=True):
            sample.set_pred_score(prediction.pred_score)
            sample.set_pred_label(prediction.pred_label)
        return samples

    def check_merge(self) -> None:
        if isinstance(self.model.head, MultiLabelClsHead):
            raise ValueError(
                f'Tiles: the head is a {type(self.model.head).__name__}, whose '
                'logits are not averaged over tiles; accepted: heads that give '
                'an image one label.')

    def merge(self, sample: DataSample, inputs: Tensor, areas: Sequence[Area],
              parts: list) -> DataSample:
        """The softmax of the parts' mean logits."""
        # Logarithms of a softmax are its logits less a number for each part,
        # which the next softmax does not see.
        scores = torch.stack([part.pred_score for part in parts])
        logits = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
        score = logits.mean(dim=0).softmax(dim=0)
        sample.set_pred_score(score)
        sample.set_pred_label(score.argmax(dim=0, keepdim=True))
        return sample
