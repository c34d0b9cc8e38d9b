"""Running a model once, on one blank image, to see what it has."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

#: Side of the square image that models are probed with: a multiple of every
#: stride up to 128 whose maps are all larger than one position.
PROBE_SIZE = 256


def blank_image(model: nn.Module) -> Tensor:
    """(1, 3, PROBE_SIZE, PROBE_SIZE), of the type and on the device of a
    model's weights."""
    weight = next(model.parameters())
    return weight.new_zeros(1, 3, PROBE_SIZE, PROBE_SIZE)


@contextmanager
def on_a_blank_image(owner: str, model: nn.Module) -> Iterator[None]:
    """Say in a sentence that a model does not take the probe.

    Raises:
        ValueError: what runs inside failed.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise ValueError(
            f'{owner} ({type(model).__name__}) cannot be run on an image of '
            f'{PROBE_SIZE} × {PROBE_SIZE} px, on the '
            f'{next(model.parameters()).device} ({reason}); accepted: models '
            'that can.') from error


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode; restore every submodule's mode on leaving."""
    modes = [(m, m.training) for module in modules for m in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
