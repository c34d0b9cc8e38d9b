"""Trained models, taken back from their files."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmrlkd.config.student import is_distiller, model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import MODELS

from .checkpoint_hook import sidecar_path

#: Ends of the names of buffers, which no optimizer changes.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def load_distiller(cfg: Config, checkpoint: str | Path,
                   device: str = 'cpu') -> PyramidDistiller:
    """A trained distiller, in eval mode: student, connectors and selector.

    Args:
        cfg: the config it was trained with.
        checkpoint: the student's; its sidecar lies beside it.
        device: where the model goes.

    Raises:
        ValueError: the config distils nothing, or a file is missing.
    """
    if not is_distiller(cfg):
        raise ValueError(
            f"model.type is {cfg.model.get('type')!r}, which distils "
            "nothing; accepted: 'mmrlkd.PyramidDistiller'.")
    for path, role in ((Path(checkpoint), 'the checkpoint of the student'),
                       (sidecar_path(checkpoint), 'the sidecar that training '
                        'writes beside the checkpoint')):
        if not path.is_file():
            raise ValueError(f'{path} is not a file; accepted: {role}.')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(model_config(cfg))
    model.load_state_dict(_load(checkpoint)['state_dict'])
    model.load_sidecar_state(_load(sidecar_path(checkpoint))['distiller'])
    return model.to(device).eval()


def count_parameters(checkpoint: str | Path) -> int:
    """Number of a checkpoint's weights that an optimizer could change."""
    return sum(value.numel()
               for name, value in _load(checkpoint)['state_dict'].items()
               if not name.endswith(_BUFFERS))


def _load(path: str | Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=True)
