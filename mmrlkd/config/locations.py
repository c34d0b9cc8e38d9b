"""Where data sets and checkpoints are on this machine.

Configs name them relative to a root, as OpenMMLab's do: ``data/coco/``,
``checkpoints/….pth``. The root is the working directory; for files that are not
there, it is the folder in the environment variable ``MMRLKD_ROOT``.
"""

import os
from pathlib import Path

from mmengine.config import Config

from .keywords import walk

#: The environment variable.
ROOT = 'MMRLKD_ROOT'
#: Folders of the root, and the keys of a config whose values are paths in them.
FOLDERS = ('data', 'checkpoints')
KEYS = ('data_root', 'data_prefix', 'ann_file', 'seg_prefix', 'img_prefix',
        'gt_folder', 'label_map_file', 'proposal_file', 'checkpoint', 'load_from')


def place_files(cfg: Config) -> None:
    """Replace the paths of a config by those on this machine, in place."""
    root = os.environ.get(ROOT)
    if not root:
        return
    # torch downloads the weights that students begin from into this folder.
    os.environ.setdefault('TORCH_HOME', os.path.abspath(root))
    for _, part in walk(cfg._cfg_dict):
        for key in KEYS if isinstance(part, dict) else ():
            value = part.get(key)
            if isinstance(value, str):
                part[key] = locate(value, root)
            elif isinstance(value, list | tuple):
                part[key] = type(value)(
                    locate(each, root) if isinstance(each, str) else each
                    for each in value)


def locate(path: str, root: str) -> str:
    """``data/…`` and ``checkpoints/…`` below ``root``; other paths, and those
    whose data set or checkpoint is in the working directory, as they are."""
    parts = Path(path).parts
    if not parts or parts[0] not in FOLDERS or Path(*parts[:2]).exists():
        return path
    return os.path.join(os.path.abspath(root), path)
