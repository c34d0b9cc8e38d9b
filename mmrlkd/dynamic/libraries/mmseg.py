"""Segmentors of mmseg."""

from collections.abc import Sequence

from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from .base import Area, Library, scaled_size


class Segmentation(Library):
    """Encoder-decoders of mmseg."""

    task = 'segmentation'
    quality = 'mmrlkd.ImageIoU'

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        return isinstance(model, EncoderDecoder)

    @property
    def padding(self) -> tuple[int, float]:
        preprocessor = self.model.data_preprocessor
        divisor = (preprocessor.test_cfg or {}).get('size_divisor')
        return divisor or 1, preprocessor.pad_val

    def area(self, sample: SegDataSample, inputs: Tensor) -> Area:
        left, right, top, bottom = map(int, sample.get(
            'img_padding_size', sample.get('padding_size', (0, 0, 0, 0))))
        if left or top:
            raise ValueError(
                f'The image has {left} and {top} px of padding at the left and '
                'the top, which knobs that change the image do not know; '
                'accepted: padding at the right and the bottom.')
        height, width = inputs.shape[-2:]
        return Area(0, 0, height - bottom, width - right)

    def view(self, sample: SegDataSample, area: Area,
             factor: tuple[float, float], canvas: tuple[int, int],
             whole: bool) -> SegDataSample:
        size = scaled_size(area, factor)
        padding = (0, canvas[1] - size[1], 0, canvas[0] - size[0])
        return SegDataSample(metainfo={
            **sample.metainfo,
            'img_shape': size,
            'pad_shape': canvas,
            'padding_size': padding,
            'img_padding_size': padding,
            'ori_shape': sample.ori_shape if whole else area.size,
        })

    def adopt(self, samples: list, predictions: list) -> list:
        for sample, prediction in zip(samples, predictions, strict=True):
            sample.set_data(dict(prediction.items()))
        return samples

    def check_merge(self) -> None:
        """All are merged."""

    def merge(self, sample: SegDataSample, inputs: Tensor,
              areas: Sequence[Area], parts: list) -> SegDataSample:
        """Logits are averaged where parts overlap; probabilities are, if the
        head has one output channel, for which mmseg puts out no logits."""
        height, width = self.area(sample, inputs).size
        first = parts[0].seg_logits.data
        total = first.new_zeros(len(first), height, width)
        count = first.new_zeros(height, width)
        for area, part in zip(areas, parts, strict=True):
            rows = slice(area.top, area.top + area.height)
            columns = slice(area.left, area.left + area.width)
            total[:, rows, columns] += part.seg_logits.data
            count[rows, columns] += 1
        logits = total / count
        if (height, width) != tuple(sample.ori_shape[:2]):
            logits = resize(
                logits[None], sample.ori_shape[:2], mode='bilinear',
                align_corners=self.model.align_corners, warning=False)[0]
        if len(logits) > 1:
            labels = logits.argmax(dim=0, keepdim=True)
        else:
            labels = (logits > self.model.decode_head.threshold).to(logits)
        sample.set_data(dict(seg_logits=PixelData(data=logits),
                             pred_sem_seg=PixelData(data=labels)))
        return sample
