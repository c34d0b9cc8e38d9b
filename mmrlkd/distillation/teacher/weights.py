"""Finding a teacher's weights in a file, and loading them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.files import load_file


@dataclass(frozen=True)
class _Weights:
    """Weights that a file holds under a key and a prefix.

    Attributes:
        key: their key and prefix, such as ``'state_dict'`` or
            ``'model.teacher'``; empty for the top level of the file.
        values: weights by name, without the prefix.
        coverage: number of the model's weights among them.
    """
    key: str
    values: dict[str, Tensor]
    coverage: int


def load_matching(model: nn.Module, checkpoint: str, key: str | None = None,
                  trust: bool = False) -> None:
    """Load a checkpoint whose weights must match the model's.

    Args:
        model: of the teacher.
        checkpoint: see :func:`mmrlkd.files.load_file`.
        key: of the weights in the file, see :func:`find_weights`.
        trust: see :func:`mmrlkd.files.load_file`.

    Raises:
        ValueError: the file cannot be read; or weights are missing, of another
            shape or not finite.
    """
    loaded = load_file(checkpoint, 'teacher.checkpoint', trust=trust)
    # Files of old torch versions have no num_batches_tracked.
    expected = {key: value.shape for key, value in model.state_dict().items()
                if not key.endswith('num_batches_tracked')}
    found = find_weights(loaded, expected, checkpoint, key)
    weights = found.values
    # Not by comparing keys: some modules load what older versions of them
    # saved under other names.
    wrong = []
    try:
        missing = model.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        missing = [key for key in expected if key not in weights]
        wrong = [
            f'{key} ({tuple(weights[key].shape)} instead of {tuple(shape)})'
            for key, shape in expected.items()
            if key in weights and weights[key].shape != shape
        ] or [str(error)]
    wrong = [f'{key} (missing)' for key in missing
             if key in expected] + wrong
    if wrong:
        where = f' under {found.key!r}' if found.key else ''
        raise ValueError(
            f'teacher.checkpoint={checkpoint!r} does not fit teacher.config: '
            f'{len(wrong)} of {len(expected)} weights do not match, among them '
            f"{', '.join(wrong[:5])}; the file's weights{where} are called "
            f"{', '.join(list(weights)[:3])}, …; accepted: a checkpoint of that "
            'config.')
    _require_finite(model, checkpoint)


def find_weights(loaded: Any, expected: Collection[str], checkpoint: str,
                 key: str | None = None) -> _Weights:
    """The weights in a file that cover most of a model's.

    Files have them under ``state_dict``, ``model``, ``ema_state_dict`` or at the
    top level, with prefixes such as ``module.`` or ``student.``. If several keys
    fit equally well, mmengine's ``state_dict`` is chosen; with EMAHook it holds
    the averaged weights.

    Args:
        loaded: content of the file.
        expected: names of the model's weights.
        checkpoint: the file's path, for messages.
        key: of the weights, if several keys fit.

    Raises:
        ValueError: there are no weights, or different ones under several keys.
    """
    places = list(_places(loaded, set(expected)))
    labels = list(dict.fromkeys(place.key for place in places))
    if key is not None:
        places = [place for place in places if place.key == key]
    if not places:
        raise ValueError(
            f'teacher.checkpoint={checkpoint!r} holds no weights'
            + (f' under {key!r} (teacher.weights_key); accepted: '
               f"{', '.join(map(repr, labels)) or 'another file'}."
               if key is not None else
               '; accepted: a file with the state dict of a model.'))
    most = max(place.coverage for place in places)
    best = [place for place in places if place.coverage == most]
    usual = [place for place in best if place.key in ('', 'state_dict')]
    chosen = (usual or best)[0]
    if most and not usual and any(
            _differ(chosen, other, expected) for other in best[1:]):
        raise ValueError(
            f'teacher.checkpoint={checkpoint!r} holds several weights that '
            'fit; accepted: teacher.weights_key='
            + ' or '.join(repr(place.key) for place in best) + '.')
    return chosen


def _places(node: Any, expected: Collection[str], path: str = '',
            depth: int = 3) -> Iterator[_Weights]:
    """All weights in nested dicts, for each prefix with which some names fit."""
    if isinstance(node, nn.Module):
        node = node.state_dict()
    if not isinstance(node, Mapping) or depth == 0:
        return
    # Every dict with tensors may be a state dict. A prefix is tried if one of
    # the names without it is a weight of the model.
    tensors = {key: value for key, value in node.items()
               if isinstance(key, str) and isinstance(value, Tensor)}
    prefixes: dict[str, int] = {'': 0} if tensors else {}
    for name in tensors:
        words = name.split('.')
        for i in range(len(words)):
            if '.'.join(words[i:]) in expected:
                prefix = '.'.join([*words[:i], ''])
                prefixes[prefix] = prefixes.get(prefix, 0) + 1
    for prefix, coverage in prefixes.items():
        # The prefix of a data parallel wrapper is not part of the key.
        label = prefix.removeprefix('module.').rstrip('.')
        yield _Weights('.'.join(filter(None, (path, label))), {
            name.removeprefix(prefix): value for name, value in tensors.items()
            if name.startswith(prefix)}, coverage)
    for name, value in node.items():
        yield from _places(value, expected, '.'.join(
            filter(None, (path, str(name)))), depth - 1)


def _differ(one: _Weights, other: _Weights, names: Collection[str]) -> bool:
    return any(
        (name in one.values) != (name in other.values)
        or name in one.values
        and not torch.equal(one.values[name], other.values[name])
        for name in names)


def _require_finite(model: nn.Module, checkpoint: str) -> None:
    """Refuse weights and running statistics that are not finite. Other buffers
    may hold infinity, such as attention masks."""
    broken = [
        name for name, value in model.state_dict().items()
        if value.is_floating_point() and not (
            value.isfinite() | (value.isinf() & _is_mask(model, name))).all()]
    if broken:
        raise ValueError(
            f'teacher.checkpoint={checkpoint!r} holds numbers that are not '
            f"finite, in {len(broken)} of its weights: {', '.join(broken[:5])}; "
            'accepted: a checkpoint of a training that did not diverge.')


def _is_mask(model: nn.Module, name: str) -> bool:
    owner, _, leaf = name.rpartition('.')
    buffers = model.get_submodule(owner)._buffers
    return leaf in buffers and not leaf.startswith('running_')
