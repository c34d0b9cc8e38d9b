"""Loading trained models from checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmrlkd.config.student import check_distils, model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.files import load_file, relative_to
from mmrlkd.registry import MODELS

from .run_state_hook import read_run_state

#: Ends of the names of buffers, which are not counted as parameters.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def load_distiller(cfg: Config, checkpoint: str | Path, device: str = 'cpu',
                   selector: bool = True) -> PyramidDistiller:
    """A trained distiller, in eval mode: student, connectors and selector.

    Args:
        cfg: the config it was trained with.
        checkpoint: that the run wrote.
        device: where the model goes.
        selector: take the selector's state, too. Without it, the run may have
            had another selector.

    Raises:
        ValueError: the config distils nothing, or a file is missing.
    """
    check_distils(cfg)
    if not Path(checkpoint).is_file():
        raise ValueError(
            f'{checkpoint}{relative_to(checkpoint)} is not a file; accepted: a '
            'checkpoint of the run.')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(model_config(cfg))
    content = load_file(checkpoint)
    model.load_state_dict(content['state_dict'])
    state = read_run_state(checkpoint, content)['distiller']
    if selector:
        model.load_run_state(state)
    else:
        model.distillation.links.load_state_dict(state['links'])
        model.distillation.running_mean.copy_(state['running_mean'])
    return model.to(device).eval()


def count_parameters(checkpoint: str | Path) -> int:
    """Number of parameters in a checkpoint's ``state_dict``."""
    return sum(value.numel()
               for name, value in load_file(checkpoint)['state_dict'].items()
               if not name.endswith(_BUFFERS))


def load_student(runner: Runner, checkpoint: str | Path) -> None:
    """Load a checkpoint that fills the runner's model, for testing it.

    Args:
        runner: whose model gets the weights.
        checkpoint: see :func:`mmrlkd.files.load_file`.

    Raises:
        ValueError: the file cannot be read or does not hold all weights.
    """
    loaded = load_file(checkpoint)
    # Without the hooks' after_load_checkpoint: they are not set up yet, and a
    # file has under 'state_dict' what is tested, with EMAHook the averaged
    # weights.
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    fill(model, loaded, checkpoint)
    runner._has_loaded = True
    runner.logger.info(f'Load checkpoint from {checkpoint}')


def fill(model: nn.Module, checkpoint: Mapping[str, Any],
         name: str | Path) -> None:
    """Load the weights of a model and refuse a file that lacks some.

    Args:
        model: gets them.
        checkpoint: the content of a file.
        name: of the file, for the message.

    Raises:
        ValueError: weights are missing or of another shape.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    weights = {str(key).removeprefix('module.'): value
               for key, value in weights.items()}
    expected = {key: value.shape for key, value in model.state_dict().items()
                if not key.endswith('num_batches_tracked')}
    try:
        # Not by comparing keys: some modules load what older versions of them
        # saved under other names.
        wrong = [key for key in model.load_state_dict(
            weights, strict=False).missing_keys if key in expected]
    except RuntimeError as error:
        wrong = [key for key, shape in expected.items()
                 if getattr(weights.get(key), 'shape', None) != shape]
        wrong = wrong or [str(error)]
    if wrong:
        raise ValueError(
            f'{name} does not fill the {type(model).__name__}: {len(wrong)} of '
            f'its {len(expected)} weights are missing or of another shape, '
            f'among them {", ".join(wrong[:3])}. {_looks_like(checkpoint)}'
            "Accepted: a checkpoint of this config's student.")


def _looks_like(checkpoint: Mapping[str, Any]) -> str:
    """A sentence about what a file holds that is not a student."""
    weights = checkpoint.get('state_dict', checkpoint)
    if 'distiller' in checkpoint and 'state_dict' not in checkpoint:
        return ('It looks like the file of connectors and policy that earlier '
                'versions wrote beside a checkpoint; the student is in the '
                '.pth of the same name. ')
    if 'optimizer' in checkpoint and 'state_dict' not in checkpoint:
        return "It looks like an optimizer's state. "
    prefixes = {str(key).partition('.')[0] for key in weights}
    if prefixes & {'student', 'architecture', 'teacher', 'ema_model'}:
        return (f"Its weights begin with {', '.join(sorted(prefixes)[:3])}: it "
                'looks like the checkpoint of another distiller. ')
    return f"It has {', '.join(map(str, list(weights)[:3]))}, …. "
