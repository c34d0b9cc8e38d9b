"""Where data sets and checkpoints are on this machine.

Configs name them relative to one root, as OpenMMLab's do: ``data/coco/``,
``checkpoints/….pth``. The root is the working directory, or for what is not
there, the folder that the environment variable ``MMRLKD_ROOT`` names.
"""

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

#: The environment variable.
ROOT = 'MMRLKD_ROOT'
#: Folders of the root, and the keys of a config whose values lie in them.
FOLDERS = ('data', 'checkpoints')
KEYS = ('data_root', 'ann_file', 'checkpoint', 'load_from')


def place_files(cfg: Config) -> None:
    """Name the files of a config where this machine has them, in place."""
    root = os.environ.get(ROOT)
    if root:
        # Weights that students begin from are torch's to look for.
        os.environ.setdefault('TORCH_HOME', os.path.abspath(root))
        _move(cfg._cfg_dict, root)


def locate(path: str, root: str) -> str:
    """``data/…`` and ``checkpoints/…`` below ``root``; other paths, and those
    whose data set or checkpoint is in the working directory, as they are."""
    parts = Path(path).parts
    if not parts or parts[0] not in FOLDERS or Path(*parts[:2]).exists():
        return path
    return os.path.join(os.path.abspath(root), path)


def _move(node: Any, root: str) -> None:
    """Locate what a part of a config names, in place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in KEYS and isinstance(value, str):
                node[key] = locate(value, root)
            else:
                _move(value, root)
    elif isinstance(node, list | tuple):
        for value in node:
            _move(value, root)
