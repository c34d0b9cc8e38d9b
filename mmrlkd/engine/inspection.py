"""Looking at a config's data before training."""

import json
import os
from pathlib import Path

from mmengine.config import Config


def check_data(cfg: Config) -> None:
    """Refuse a training set that is not there or has no annotations.

    Looks at the annotation file that the config names; datasets that name
    none (folders of classes) are left to their library.

    Raises:
        ValueError: the file is missing, unreadable or empty.
    """
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:  # RepeatDataset and other wrappers
        dataset = dataset.dataset
    file = dataset.get('ann_file')
    if not file:
        return
    path = Path(dataset.get('data_root') or '', file)
    if '://' in str(path):
        return
    key = 'train_dataloader.dataset.ann_file'
    if not path.is_file():
        raise ValueError(
            f'{key}: {path} is not a file; accepted: the annotations of the '
            'training images (set data_root or ann_file).')
    if path.suffix != '.json' or os.path.getsize(path) == 0:
        return
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f'{key}: {path} is not JSON ({error}); accepted: a COCO '
            'annotation file.') from error
    if isinstance(content, dict) and not content.get('annotations'):
        raise ValueError(
            f'{key}: {path} has no annotations; accepted: a COCO file whose '
            "'annotations' list is not empty.")
