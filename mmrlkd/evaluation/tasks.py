"""What the models of each task are measured by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A number that an evaluator logs.

    Attributes:
        name: in tables and sentences.
        key: in the log.
        hint: what the number is.
        whole: what a perfect model has in the log: 1 or 100.
    """
    name: str
    key: str
    hint: str = ''
    whole: float = 1.0

    def read(self, record: Mapping[str, Any]) -> float | None:
        """The value in [0, 1]; None where there is none, of which COCOeval's
        -1 tells, too."""
        value = record.get(self.key)
        return None if value is None or value < 0 else value / self.whole


@dataclass(frozen=True)
class Task:
    """How the models of a task are judged.

    Attributes:
        name: of the task.
        quality: of the main metric, spelt out.
        heading: over the metrics of all images.
        metrics: the main one first; their names differ.
        by_difficulty: whether its images have a known difficulty.
    """
    name: str
    quality: str
    heading: str
    metrics: tuple[Metric, ...]
    by_difficulty: bool = True

    @property
    def main(self) -> Metric:
        """What a model is judged by."""
        return self.metrics[0]


_THRESHOLDS = 'mean over IoU thresholds from 0.50 to 0.95'
_BOXES = (
    ('mAP', '', _THRESHOLDS),
    ('AP50', '_50', 'at IoU 0.50'),
    ('AP75', '_75', 'at IoU 0.75'),
    ('APs', '_s', 'of objects below 32² pixels'),
    ('APm', '_m', 'of objects between 32² and 96² pixels'),
    ('APl', '_l', 'of objects above 96² pixels'),
)

#: By name. Of two that a log fits, the first: who is judged by masks has boxes,
#: too.
TASKS = {task.name: task for task in (
    Task('instance', 'mask mAP', 'AP, all images', tuple(
        Metric(f'{kind} {name}', f'coco/{key}_mAP{end}', hint)
        for kind, key, count in (('mask', 'segm', 5), ('box', 'bbox', 3))
        for name, end, hint in _BOXES[:count])),
    Task('detection', 'box mAP', 'box AP, all images', tuple(
        Metric(name, f'coco/bbox_mAP{end}', hint)
        for name, end, hint in _BOXES)),
    Task('segmentation', 'mIoU', 'all images', (
        Metric('mIoU', 'mIoU', 'mean over classes, the background too', 100),
        Metric('pixel accuracy', 'aAcc', 'share of pixels', 100),
        Metric('class accuracy', 'mAcc', 'of pixels, mean over classes', 100))),
    Task('classification', 'top-1 accuracy', 'accuracy', (
        Metric('top-1', 'accuracy/top1', 'the likeliest class is right', 100),
        Metric('top-5', 'accuracy/top5', 'one of five is right', 100)),
        by_difficulty=False),
)}
DETECTION = TASKS['detection']


def task_of(record: Mapping[str, Any]) -> Task | None:
    """The task whose main metric was logged; None if the record is no
    evaluation."""
    for task in TASKS.values():
        if task.main.key in record:
            return task
    return None
