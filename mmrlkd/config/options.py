"""Applying the options of a command line to a config."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from mmrlkd.registry import MODELS

from .keywords import (
    RUNNER_KEYS,
    find_class,
    near,
    parameters_of,
    parts_with,
    walk,
)
from .student import is_distiller, reach_student, with_names


def apply_options(cfg: Config, options: Mapping[str, Any] | None) -> None:
    """Override values of a config, each at the key that is read.

    In a distillation config, ``selector.…`` or ``loss.…`` changes
    ``model.selector.…`` or ``model.loss.…``, and an option that a plain model
    has, such as ``model.test_cfg.…``, changes the student's.

    Args:
        cfg: changed in place.
        options: values by dotted key.

    Raises:
        ValueError: nothing reads an option.
    """
    # mmengine removes _delete_ from the values that it merges.
    options = deepcopy(dict(options or {}))
    if options:
        own: Mapping[str, Any] = {}
        if is_distiller(cfg):
            cls = find_class(MODELS, cfg.model.type, cfg.get('default_scope'))
            own = parameters_of(cls)[0] if cls is not None else {}
        for key in list(options):
            first = key.partition('.')[0]
            if first in own and first not in RUNNER_KEYS:
                options[f'model.{key}'] = options.pop(key)
            elif first not in RUNNER_KEYS:
                _check_read(cfg, key, first, [*RUNNER_KEYS, *own])
        cfg.merge_from_dict(options)
        with_names(cfg)
    reach_student(cfg)


def _check_read(cfg: Config, key: str, first: str, known: list[str]) -> None:
    """Refuse to set what the config has not, which may be meant for one of the
    ``known``, or what the file only copied elsewhere."""
    if first not in cfg:
        hint = (parts_with(first, cfg.get('model') or {}) or near(first, sorted(known))
                or f'; accepted: {", ".join(sorted(RUNNER_KEYS & set(cfg)))}.')
        raise ValueError(f'{key}: the config has no {first}{hint}')
    # Where the Runner reads an equal value, the file has copied the variable.
    read = {name: cfg[name] for name in cfg if name in RUNNER_KEYS}
    places = [path for path, part in walk(read) if path
              and type(part) is type(cfg[first]) and part == cfg[first]]
    if places:
        rest = key[len(first):]
        raise ValueError(
            f'{key}: nothing reads {first}, which the config copies; accepted: '
            + ' '.join(f'{place}{rest}=…' for place in places[:4])
            + ', or to set it in the config file.')
