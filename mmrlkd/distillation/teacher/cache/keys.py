"""What identifies a map: the hash of all that decides it.

Two maps have the same key only if the same teacher computed them of the same
image tensor, so no augmentation can be served another's map, and nothing has to
be keyed by hand.
"""

from importlib import import_module

import torch
from torch import Tensor, nn

#: Raised when the way from an image to a map changes in this package.
FORMAT = 1


def hash_model(model: nn.Module, config: object) -> bytes:
    """128 bits of a teacher: its config, the versions of the libraries that
    run it, and the names, types, memory formats and values of its weights.

    Takes a copy of the weights to the host; computed once for a run, as the
    teacher is frozen.

    Args:
        model: prepared.
        config: what it was built from, and how it is run.
    """
    from xxhash import xxh3_128
    library = type(model).__module__.partition('.')[0]
    digest = xxh3_128(repr((
        FORMAT, str(config), _version('torch'), _version('mmcv'),
        _version(library), type(model).__qualname__)).encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(repr((name, tensor.dtype, tensor.shape,
                            tensor.stride())).encode())
        digest.update(_bytes(tensor.detach().cpu()))
    return digest.digest()


def precision_of(images: Tensor) -> str:
    """What changes a teacher's output beside its weights and the image: the
    kind of device, autocast, TF32; and whether the batch has one image, for
    which libraries choose other kernels."""
    device = images.device.type
    autocast = (torch.get_autocast_dtype(device)
                if torch.is_autocast_enabled(device) else None)
    return repr((
        device, autocast, torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32, len(images) == 1))


def hash_images(images: Tensor, teacher: bytes) -> list[bytes]:
    """128 bits of each image, as the teacher sees it.

    Images on a GPU are copied to the host, once for a batch.

    Args:
        images: (B, 3, H, W), preprocessed and padded.
        teacher: of :func:`hash_model`.
    """
    from xxhash import xxh3_128
    prefix = xxh3_128(teacher)
    prefix.update(repr((
        images.dtype, images.shape[1:], precision_of(images))).encode())
    found = []
    for image in images.detach().cpu().contiguous():
        digest = prefix.copy()
        digest.update(_bytes(image))
        found.append(digest.digest())
    return found


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a tensor on the CPU, in the order of its dimensions."""
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _version(package: str) -> str:
    return str(getattr(import_module(package), '__version__', ''))
