"""One entry of the cache: some tensors of one image as bytes with a checksum."""

from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_CHECKSUM = 8  # bytes


def shorten(maps: Tensor) -> Tensor:
    """Maps as ``dtype='bfloat16'`` stores them; what has 16 bits stays."""
    return maps.bfloat16() if maps.element_size() > 2 else maps


def pack(key: bytes, tensors: Sequence[Tensor],
         dtypes: Sequence[torch.dtype]) -> bytes:
    """Bytes of an entry.

    Args:
        key: of the entry, which the checksum includes: what was filed under
            another key is no entry.
        tensors: on the CPU, as they are stored.
        dtypes: as they are given back.
    """
    body = save({
        f'{i} {str(dtype).removeprefix("torch.")}': tensor.contiguous()
        for i, (tensor, dtype) in enumerate(zip(tensors, dtypes, strict=True))})
    return _checksum(key, body) + body


def unpack(key: bytes, entry: bytes) -> list[Tensor] | None:
    """The tensors of an entry; None if it is not what was packed."""
    body = entry[_CHECKSUM:]
    if entry[:_CHECKSUM] != _checksum(key, body):
        return None
    found: dict[int, Tensor] = {}
    try:
        for name, tensor in load(body).items():
            number, dtype = name.split()
            found[int(number)] = tensor.to(getattr(torch, dtype))
    except SafetensorError:  # of another version
        return None
    return [found[i] for i in sorted(found)]


def _checksum(key: bytes, body: bytes) -> bytes:
    from xxhash import xxh3_64
    digest = xxh3_64(key)
    digest.update(body)
    return digest.digest()
