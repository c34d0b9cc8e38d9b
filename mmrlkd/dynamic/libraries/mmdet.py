"""Detectors of mmdet."""

from collections.abc import Sequence
from typing import Any

from mmcv.ops import batched_nms
from mmdet.models import (
    BaseDetector,
    RPNHead,
    SingleStageDetector,
    TwoStageDetector,
)
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .base import Area, Library, scaled_size


class Detection(Library):
    """Any detector of mmdet."""

    task = 'detection'
    quality = 'mmrlkd.OneMinusLRP'

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        return isinstance(model, BaseDetector)

    @property
    def padding(self) -> tuple[int, float]:
        preprocessor = self.model.data_preprocessor
        return preprocessor.pad_size_divisor, preprocessor.pad_value

    def area(self, sample: DetDataSample, inputs: Tensor) -> Area:
        return Area(0, 0, *sample.img_shape[:2])

    def view(self, sample: DetDataSample, area: Area,
             factor: tuple[float, float], canvas: tuple[int, int],
             whole: bool) -> DetDataSample:
        if 'border' in sample.metainfo:
            raise ValueError(
                'The test pipeline pads around the image (RandomCenterCropPad), '
                'which knobs that change the image do not know; accepted: '
                'Resize, and padding by the data preprocessor.')
        across, down = self._scale_factor(sample)
        return DetDataSample(metainfo={
            **sample.metainfo,
            'img_shape': scaled_size(area, factor),
            'scale_factor': (across * factor[1], down * factor[0]),
            'ori_shape': sample.ori_shape if whole else (
                round(area.height / down), round(area.width / across)),
            'batch_input_shape': canvas,
            'pad_shape': canvas,
        })

    def adopt(self, samples: list, predictions: list) -> list:
        for sample, prediction in zip(samples, predictions, strict=True):
            sample.set_data(dict(prediction.items()))
        return samples

    def check_merge(self) -> None:
        if self.model.with_mask:
            raise ValueError(
                f'Tiles: the model is a {type(self.model).__name__} with masks, '
                'which are not merged; accepted: detectors that put out boxes.')
        if 'nms' not in self._test_cfg:
            raise ValueError(
                f'Tiles: the test_cfg of the {type(self.model).__name__} has no '
                'nms by which boxes of several tiles could be merged; accepted: '
                'one such as nms=dict(type="nms", iou_threshold=0.6).')

    def merge(self, sample: DetDataSample, inputs: Tensor,
              areas: Sequence[Area], parts: list) -> DetDataSample:
        across, down = self._scale_factor(sample)
        found = []
        for area, part in zip(areas, parts, strict=True):
            boxes = part.pred_instances.bboxes
            origin = boxes.new_tensor([area.left / across, area.top / down])
            # Not the whole instance: other fields are of the part's size.
            found.append(InstanceData(
                bboxes=boxes + origin.repeat(2),
                scores=part.pred_instances.scores,
                labels=part.pred_instances.labels))
        merged = InstanceData.cat(found)
        if len(merged):
            kept, keep = batched_nms(
                merged.bboxes, merged.scores, merged.labels,
                self._test_cfg['nms'])
            merged = merged[keep]
            merged.scores = kept[:, -1]  # some kinds of NMS lower the scores
            merged = merged[:self._test_cfg.get('max_per_img', 100)]
        sample.pred_instances = merged
        return sample

    def proposals(self) -> tuple[nn.Module, str] | None:
        head: Any
        if isinstance(self.model, TwoStageDetector):
            head, key = getattr(self.model, 'rpn_head', None), 'max_per_img'
            known = isinstance(head, RPNHead)  # others read other options
        elif isinstance(self.model, SingleStageDetector):
            head, key, known = self.model.bbox_head, 'nms_pre', True
        else:
            return None
        known = known and (head.test_cfg or {}).get(key, 0) > 0
        return (head, key) if known else None

    @property
    def _test_cfg(self) -> dict[str, Any]:
        """That of the last stage."""
        cfg = self.model.test_cfg or {}
        return cfg.get('rcnn', cfg)

    @staticmethod
    def _scale_factor(sample: DetDataSample) -> tuple[float, float]:
        """By which the pipeline multiplied width and height."""
        across, down, *_ = sample.get('scale_factor', (1.0, 1.0))
        return float(across), float(down)
