"""The values of a config that decide what a distillation does."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from torch import nn

from mmrlkd.distillation.selection.selectors import ControlSelector

from .keywords import FAMILIES, RESERVED, parameters_of, type_name


def decisions(cfg: Config, selector: nn.Module) -> list[tuple[str, str]]:
    """Key and value of λ or mean cost, budget, learner, phases, weight of the loss and
    schedule.

    Args:
        cfg: of a distillation.
        selector: built from the config; it supplies the defaults.
    """
    rows = _choosing('model.selector', selector, cfg.model.get('selector') or {})
    rows += [('model.budget', _value(cfg.model.get('budget'))),
             ('model.loss_weight', _value(cfg.model.get('loss_weight', 1.0)))]
    for i, hook in enumerate(cfg.get('custom_hooks') or []):
        for j, phase in enumerate(hook.get('phases') or []):
            rest = {key: value for key, value in phase.items()
                    if key != 'name'}
            rows.append((f'custom_hooks.{i}.phases.{j}',
                         f"{phase.get('name')}: {_options(rest)}"))
    train = cfg.get('train_cfg') or {}
    rows.append(('train_cfg', _options({
        key: train[key] for key in ('max_epochs', 'max_iters') if key in train})))
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    rows.append(('optim_wrapper.optimizer', ' '.join(
        [type_name(optimizer.get('type')), _options(optimizer)])))
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, Mapping):
        schedulers = [schedulers]
    for i, each in enumerate(schedulers):
        rows.append((f'param_scheduler.{i}', ' '.join(
            [type_name(each.get('type')), _options({
                key: each[key] for key in ('by_epoch', 'begin', 'end',
                                           'milestones', 'T_max') if key in each})])))
    return rows


def _choosing(key: str, selector: nn.Module,
              given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of a selector and its parts; of a control, those of what it
    controls, too."""
    rows = [(key, _describe(selector, given))]
    if isinstance(selector, ControlSelector):
        return rows + _choosing(
            f'{key}.selector', selector.selector, given['selector'])
    # With a mean cost, λ is found, and the reward's default is not charged.
    found = {'efficiency'} if given.get('mean_cost') is not None else set()
    # Selectors differ in the parts that they have.
    for name in ('reward', 'learner', 'policy'):
        part = getattr(selector, name, None)
        if part is not None:
            rows.append((f'{key}.{name}',
                         _describe(part, given.get(name) or {}, found)))
    return rows


def _describe(part: Any, given: Mapping[str, Any],
              without: Collection[str] = ()) -> str:
    """The class of a part and its options with plain values: from ``given`` of
    the config, or its default."""
    values = {
        name: given.get(name, parameter.default)
        for name, parameter in parameters_of(type(part))[0].items()
        if name not in without}
    text = _options({
        name + (' (λ)' if name == 'efficiency' else ''): value
        for name, value in values.items()
        if isinstance(value, bool | int | float | str)})
    return f'{type(part).__name__} {text}'.strip()


def _options(values: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={_value(value)}' for key, value in values.items()
                     if key not in RESERVED)


def _value(value: Any) -> str:
    return f'{value:g}' if isinstance(value, float) else str(value)


def dead_copies(cfg: Config) -> Iterator[str]:
    """A sentence about each top-level value of a config that is not read,
    because the model's argument of that name has another value.

    A variable such as ``loss = dict(…)`` in a config file stays in the config
    after ``model = dict(loss=loss)`` has copied it.
    """
    for key in cfg:
        if key in FAMILIES or key in ('loss_weight', 'levels', 'budget'):
            for path, dead, read in _differences(
                    cfg[key], cfg.model.get(key), key):
                yield (f'{path} is {dead!r}, but nothing reads it there: '
                       f'model.{path} is {read!r}.')


def _differences(dead: Any, read: Any, path: str
                 ) -> Iterator[tuple[str, Any, Any]]:
    # Of other types, nothing can be said key by key: one replaced the other.
    if isinstance(dead, Mapping) and isinstance(read, Mapping):
        if dead.get('type') == read.get('type'):
            for key in dead:
                if key in read:
                    yield from _differences(dead[key], read[key], f'{path}.{key}')
    elif dead != read:
        yield path, dead, read
