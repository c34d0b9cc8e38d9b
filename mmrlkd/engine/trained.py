"""Trained models, taken back from their files."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmrlkd.config.student import is_distiller, model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import MODELS

from .run_state_hook import read_run_state

#: Ends of the names of buffers, which no optimizer changes.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def load_distiller(cfg: Config, checkpoint: str | Path,
                   device: str = 'cpu') -> PyramidDistiller:
    """A trained distiller, in eval mode: student, connectors and selector.

    Args:
        cfg: the config it was trained with.
        checkpoint: that the run wrote.
        device: where the model goes.

    Raises:
        ValueError: the config distils nothing, or a file is missing.
    """
    if not is_distiller(cfg):
        raise ValueError(
            f"model.type is {cfg.model.get('type')!r}, which distils "
            "nothing; accepted: 'mmrlkd.PyramidDistiller'.")
    if not Path(checkpoint).is_file():
        raise ValueError(
            f'{checkpoint} is not a file; accepted: a checkpoint of the run.')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(model_config(cfg))
    content = _load(checkpoint)
    model.load_state_dict(content['state_dict'])
    model.load_run_state(read_run_state(checkpoint, content)['distiller'])
    return model.to(device).eval()


def count_parameters(checkpoint: str | Path) -> int:
    """Number of a checkpoint's weights that an optimizer could change."""
    return sum(value.numel()
               for name, value in _load(checkpoint)['state_dict'].items()
               if not name.endswith(_BUFFERS))


def _load(path: str | Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=True)
