"""Which number decides about a model, told by its config before it trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config


@dataclass(frozen=True)
class Metric:
    """A number that an evaluator logs.

    Attributes:
        name: in tables.
        key: in the log.
        hint: what the number is.
        whole: what a perfect model has in the log: 1 or 100.
    """
    name: str
    key: str
    hint: str = ''
    whole: float = 1.0

    def read(self, record: Mapping[str, Any]) -> float | None:
        """The value in points, 0 to 100; None where there is none (COCOeval
        says -1)."""
        value = record.get(self.key)
        if value is None or value < 0:
            return None
        return 100 * value / self.whole


@dataclass(frozen=True)
class Task:
    """How the models of a task are judged.

    Attributes:
        name: of the task.
        quality: of the main metric, spelt out.
        metrics: the main one first; their names differ.
    """
    name: str
    quality: str
    metrics: tuple[Metric, ...]

    @property
    def main(self) -> Metric:
        """What a model is judged by."""
        return self.metrics[0]


_THRESHOLDS = 'mean over IoU thresholds from 0.50 to 0.95'
_AP = (
    ('mAP', '', _THRESHOLDS),
    ('AP50', '_50', 'at IoU 0.50'),
    ('AP75', '_75', 'at IoU 0.75'),
    ('APs', '_s', 'of objects below 32² pixels'),
    ('APm', '_m', 'of objects between 32² and 96² pixels'),
    ('APl', '_l', 'of objects above 96² pixels'),
)


def _coco(evaluator: Mapping[str, Any]) -> Task | None:
    kinds = evaluator.get('metric', 'bbox')
    kinds = [kinds] if isinstance(kinds, str) else kinds
    prefix = evaluator.get('prefix', 'coco')
    if 'segm' in kinds:
        parts = [('mask ', 'segm', 5)] + [('box ', 'bbox', 3)] * ('bbox' in kinds)
        return Task('instance', 'mask mAP', tuple(
            Metric(f'{kind}{name}', f'{prefix}/{key}_mAP{end}', hint)
            for kind, key, count in parts for name, end, hint in _AP[:count]))
    if 'bbox' not in kinds:
        return None
    return Task('detection', 'box mAP', tuple(
        Metric(name, f'{prefix}/bbox_mAP{end}', hint) for name, end, hint in _AP))


def _voc(evaluator: Mapping[str, Any]) -> Task | None:
    prefix = evaluator.get('prefix', 'pascal_voc')
    if evaluator.get('metric', 'mAP') != 'mAP':
        return None
    return Task('detection', 'box mAP', (Metric(
        'mAP', f'{prefix}/mAP', 'mean over the IoU thresholds of VOCMetric'), ))


def _iou(evaluator: Mapping[str, Any]) -> Task | None:
    if 'mIoU' not in evaluator.get('iou_metrics', ['mIoU']):
        return None
    prefix = f'{evaluator["prefix"]}/' if evaluator.get('prefix') else ''
    return Task('segmentation', 'mIoU', (
        Metric('mIoU', f'{prefix}mIoU', 'mean over classes', 100),
        Metric('pixel accuracy', f'{prefix}aAcc', 'share of pixels', 100),
        Metric('class accuracy', f'{prefix}mAcc', 'mean over classes', 100)))


def _accuracy(evaluator: Mapping[str, Any]) -> Task:
    prefix = evaluator.get('prefix', 'accuracy')
    ranks = evaluator.get('topk', (1, ))
    ranks = (ranks, ) if isinstance(ranks, int) else tuple(ranks)
    return Task('classification', f'top-{ranks[0]} accuracy', tuple(
        Metric(f'top-{k}', f'{prefix}/top{k}',
               f'the right class is among the {k} likeliest', 100)
        for k in ranks))


#: By the name of an evaluator, without its scope.
_EVALUATORS = {
    'CocoMetric': _coco, 'DifficultyCocoMetric': _coco, 'VOCMetric': _voc,
    'IoUMetric': _iou, 'DifficultyIoUMetric': _iou, 'Accuracy': _accuracy,
}


def evaluators(cfg: Config) -> list[Mapping[str, Any]]:
    """The entries of ``val_evaluator``: none, one, or a list of them."""
    some = cfg.get('val_evaluator') or []
    return [some] if isinstance(some, Mapping) else list(some)


def task_of(cfg: Config) -> Task:
    """What models of a config are judged by.

    The first known entry of ``val_evaluator``; where there is none, the key
    that ``default_hooks.checkpoint.save_best`` names, whose numbers are taken
    to be shares of 1.

    Raises:
        ValueError: neither says which number decides.
    """
    given = []
    for evaluator in evaluators(cfg):
        name = evaluator.get('type', '')
        name = name if isinstance(name, str) else name.__name__
        given.append(name)
        known = _EVALUATORS.get(name.rpartition('.')[2])
        task = known and known(evaluator)
        if task:
            return task
    hooks = cfg.get('default_hooks') or {}
    best = (hooks.get('checkpoint') or {}).get('save_best')
    best = best if isinstance(best, str) else (best or [None])[0]
    if best and best != 'auto' and given:
        return Task('other', best, (Metric(best.rpartition('/')[2], best), ))
    raise ValueError(
        f'val_evaluator.type is {", ".join(given) or None}, which does not '
        'say which number decides; accepted: one of '
        f'{", ".join(_EVALUATORS)}, or the key of the number as '
        'default_hooks.checkpoint.save_best.')
