"""How the frozen teacher is run: what it costs, not what it teaches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrlkd.arguments import check_bool, check_choice, refuse
from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.logits import read_logits

from .fold import fold_batch_norm, tensors

Result = TypeVar('Result')
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16,
          'float16': torch.float16}
#: Largest relative difference, in the Euclidean norm, between maps before and after
#: folding: far above rounding, far below what a wrong layer would do.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Execution:
    """Options of ``teacher`` in the config.

    Attributes:
        fold: fold batch normalisation into the convolutions before it; exact to
            rounding, see :func:`.fold.fold_batch_norm`.
        dtype: ``'float32'``, which under AMP means AMP's; ``'bfloat16'`` or
            ``'float16'``, in which then all of the teacher runs, its batch
            normalisation excepted. Maps and logits are handed over in float32.
        channels_last: hold maps in this memory format; exact to rounding.
        compile: ``torch.compile`` the backbone or, where its stages are read from
            inside of it, the modules that end them. With a frozen model's weights
            as constants; exact to rounding. Where it fails, the teacher runs
            without, and the log says so.
        stream: on a GPU, run the backbone on a stream of its own, beside the
            student's forward pass; the same numbers. Nothing on a CPU.

    Raises:
        ValueError: a value is none of these.
    """
    fold: bool = True
    dtype: str = 'float32'
    channels_last: bool = False
    compile: bool = False
    stream: bool = False

    def __post_init__(self) -> None:
        for key in ('fold', 'channels_last', 'compile', 'stream'):
            check_bool('teacher', key, getattr(self, key))
        check_choice('teacher', 'dtype', self.dtype, tuple(DTYPES))

    @property
    def lower(self) -> bool:
        """Whether the teacher runs in a lower precision of its own."""
        return self.dtype != 'float32'

    @property
    def whole_batches(self) -> bool:
        """Whether it is to run for whole batches: beside the student, before levels
        are chosen; or compiled, once for each size of a batch."""
        return self.stream or self.compile

    def prepare(self, adapter: TaskAdapter, levels: bool, head: bool) -> None:
        """Change the model once, after its weights were loaded and its levels found.

        Args:
            adapter: of the teacher, frozen and in eval mode.
            levels: whether maps of its levels are read.
            head: whether its head will run.

        Raises:
            ValueError: the model does not take an option.
        """
        def maps(now: 'Execution' = AS_BUILT) -> list[Tensor]:
            image = now.cast(adapter.probe_image())
            with now.running(image.device):
                return list(tensors(_run(adapter, image, levels, head)))

        # In this order: folding is checked against the maps as built, in float32,
        # and the model that is compiled must be the final one.
        before = maps() if self.fold or self.channels_last else []
        if self.fold and fold_batch_norm(adapter.model, maps):
            _check_same('fold', before, maps())
        if self.channels_last:
            adapter.model.to(memory_format=torch.channels_last)
            _check_same('channels_last', before,
                        maps(replace(self, dtype='float32')))
        if self.lower:
            _lower(adapter.model, DTYPES[self.dtype])
            if not all(each.isfinite().all() for each in maps(self)):
                refuse('teacher', 'dtype', self.dtype,
                       "'float32' or 'bfloat16': the teacher's numbers exceed "
                       'the range of float16')
        if self.compile:
            for module in (adapter.stages.modules() if levels
                           else [adapter.backbone]):
                module.forward = _Compiled(module.forward)

    def cast(self, images: Tensor) -> Tensor:
        """The images (B, C, H, W) as the teacher takes them."""
        if self.lower:
            images = images.to(DTYPES[self.dtype])
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def hand_over(self, maps: Tensor) -> Tensor:
        """What the teacher computed, as the losses take it."""
        if self.lower:
            maps = maps.float()
        return maps.contiguous() if self.channels_last else maps

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Run parts of the teacher inside this block."""
        # Not inference mode: autograd cannot save its tensors, and the gradient of
        # a loss needs the teacher's maps.
        with torch.no_grad(), (
                torch.autocast(device.type, enabled=False) if self.lower
                else nullcontext()):
            yield

    def start(self, run: Callable[[Tensor], Result],
              images: Tensor) -> Callable[[], Result]:
        """Run the backbone.

        Args:
            run: ``images`` -> what it puts out.
            images: (B, C, H, W), preprocessed.

        Returns:
            Gives what it put out, for use on the current stream.
        """
        images = self.cast(images)
        if not (self.stream and images.is_cuda):
            result = run(images)
            return lambda: result
        beside = _stream(images.device)
        beside.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(beside):
            result = run(images)
        # So that the memory is not used again before the other stream is done.
        images.record_stream(beside)

        def wait() -> Result:
            current = torch.cuda.current_stream(images.device)
            current.wait_stream(beside)
            for each in tensors(result):
                each.record_stream(current)
            return result
        return wait


#: How a model runs that was not prepared.
AS_BUILT = Execution(fold=False)


def run_backbone(adapter: TaskAdapter, images: Tensor,
                 levels: bool) -> tuple[Any, tuple[Tensor, ...]]:
    """What a backbone puts out, and its stage maps where levels are read. Logits
    can be distilled of networks without stages."""
    if not levels:
        return adapter.backbone(images), ()
    return adapter.stages.run(images)


def _run(adapter: TaskAdapter, image: Tensor, levels: bool,
         head: bool) -> list[Any]:
    """All that is read of the teacher."""
    output, stages = run_backbone(adapter, image, levels)
    features = output if adapter.neck is None else adapter.neck(output)
    used = [output, stages, features]
    if head and adapter.logit_layer is not None:
        used.append(read_logits(adapter, features))
    elif head and adapter.dense_head is not None:
        used.append(adapter.score_logits(features))
    return used


def _check_same(key: str, before: list[Tensor], after: list[Tensor]) -> None:
    for one, other in zip(before, after, strict=True):
        same = (other - one).norm() <= TOLERANCE * one.norm()
        if one.isfinite().all() and not same:
            refuse('teacher', key, True,
                   'False: what this teacher computes changes by it, beyond '
                   'rounding')


def _lower(model: nn.Module, dtype: torch.dtype) -> None:
    model.to(dtype)
    for module in model.modules():
        # Its statistics need the range, and torch takes them beside lower maps.
        if isinstance(module, _BatchNorm):
            module.float()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The teachers' stream on a GPU."""
    return torch.cuda.Stream(device)


class _Compiled:
    """A compiled function; the function itself, once compiling has failed."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self._run = torch.compile(function, options={'freezing': True})

    def __call__(self, *args: Any) -> Any:
        if self._run is self._function:
            return self._function(*args)
        try:
            return self._run(*args)
        except Exception as error:
            # If it is not the compiler's, it comes again.
            output = self._function(*args)
            self._run = self._function
            print_log(
                f'teacher.compile=True has no effect: {type(error).__name__} '
                f'({str(error).strip().partition(chr(10))[0]}); on a CPU, torch '
                'needs a C++ compiler.', logger='current', level=30)
            return output
