"""Pairs and methods: reading a config, and replacing its method.

A pair's config names student, teacher and data. It is an ordinary config and
trains with the method that it inherits. A method's file has one variable,
``method``:

    method = dict(
        model=dict(selector=dict(type='mmrlkd.GreedySelector')),
        custom_hooks=[dict(type='mmrlkd.SeedHook')])

See docs/configs.md for what it may hold and what it replaces.
"""

import inspect
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmrlkd.files import relative_to
from mmrlkd.registry import HOOKS

from .locations import place_files
from .options import apply_options
from .removed import METHODS as REMOVED
from .removed import read_config
from .student import is_distiller, with_names

#: Folder of the methods that ``--method NAME`` names. mim's convention: an
#: installed package has its configs in ``.mim``, a checkout a link to them.
METHODS = Path(__file__).parents[1] / '.mim/configs/methods'
#: Arguments of the model that belong to the method: replaced with it, and
#: removed if the new method does not set them.
OWNED = ('selector', 'balancer', 'logit_loss', 'logit_weight', 'recipe')
#: Arguments that belong to the pair, but which a method may set.
SHARED = ('loss', 'connector', 'loss_weight', 'budget', 'min_levels', 'normalize')
#: Keys of a method.
SECTIONS = ('model', 'custom_hooks', 'search')
#: Variables of config files that are read only while a config is composed, and
#: what is read afterwards.
SOURCES = dict(
    method='model, custom_hooks and search',
    distillation='default_hooks, model_wrapper_cfg and log_processor',
    parts='model')


def add_method_argument(parser: ArgumentParser) -> None:
    """Give a tool the option ``--method``."""
    parser.add_argument(
        '--method', metavar='NAME|FILE',
        help="method that replaces the config's own: a name from "
        'configs/methods or a file; see docs/configs.md')


def work_dir_of(path: str | Path, method: str | Path | None) -> str:
    """The default work dir of a run: one for each config and method."""
    parts = [Path(path).stem, *([Path(method).stem] if method else [])]
    return str(Path('work_dirs', '_'.join(parts)))


def load_config(path: str | Path, method: str | Path | None = None,
                cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, put its method and its files in place, apply options.

    The result is complete: dumped and read again, it is the same config.

    Args:
        path: of the config.
        method: name of a file in ``configs/methods``, or the path of another,
            that replaces the config's own method.
        cfg_options: what the command line overrides, by dotted key, see
            :func:`.options.apply_options`; paths in them are not changed.

    Raises:
        ValueError: there is no such method, the config distils nothing, or an
            option would have no effect.
    """
    cfg = with_names(read_config(path))
    if method is not None:
        put_method(cfg, method)
    elif is_distiller(cfg):
        _settle(cfg, None, _sets(cfg))
    place_files(cfg)
    check_options(cfg, cfg_options or {})
    apply_options(cfg, cfg_options)
    return cfg


def method_names() -> list[str]:
    """Names that ``--method`` accepts."""
    return sorted(path.stem for path in METHODS.glob('*.py'))


def read_method(method: str | Path) -> ConfigDict:
    """The ``method`` of a file.

    Args:
        method: name of a file in ``configs/methods``, or the path of another.

    Raises:
        ValueError: there is no such method, or the file is not a method's.
    """
    path = Path(method)
    removed = REMOVED.get(str(method).replace('-', '_'))
    if removed:
        raise ValueError(f'--method {method} was removed; accepted: {removed}')
    if path.suffix != '.py' and path.name == str(method):
        path = METHODS / f'{str(method).replace("-", "_")}.py'
        if not path.is_file():
            names = method_names()
            near = get_close_matches(str(method).lower().replace('-', '_'),
                                     names, n=3, cutoff=0.5)
            raise ValueError(
                f'--method {method} is not known; accepted: '
                + (f'{" or ".join(near)}, or another of ' if near else '')
                + f'{", ".join(names)}; or the path of a file.')
    if not path.is_file():
        raise ValueError(
            f'--method {method}: {path}{relative_to(path)} is not a file; accepted: '
            f'a name ({", ".join(method_names())}) or the path of a file.')
    content = read_config(path)._cfg_dict
    found = content.get('method')
    if not isinstance(found, ConfigDict) or 'model' not in found:
        raise ValueError(
            f'--method {method}: {path} has no method with a model; accepted: '
            "method = dict(model=dict(selector=dict(type='mmrlkd.…'))).")
    _refuse(path, '', content, ('method', 'distillation'))
    _refuse(path, 'method.', found, SECTIONS)
    _refuse(path, 'method.model.', found.model, OWNED + SHARED)
    if 'selector' not in found.model:
        raise ValueError(
            f'--method {method}: {path} has no method.model.selector; '
            "accepted: dict(type='mmrlkd.…'), mmrlkd.UniformSelector for all "
            'levels.')
    return found


def _refuse(path: Path, prefix: str, content: Mapping[str, Any],
            accepted: Iterable[str]) -> None:
    accepted = tuple(accepted)
    for key in content:
        if key not in accepted:
            raise ValueError(
                f'{path}: a method has no {prefix}{key}; accepted: '
                f'{", ".join(prefix + name for name in accepted)}. What is '
                "the pair's stands in the pair's config.")


def put_method(cfg: Config, method: str | Path) -> None:
    """Replace the method of a pair's config, in place.

    Removes what belongs to the old method: the model's arguments in
    :data:`OWNED`, those in :data:`SHARED` that the method set, its hooks, and
    the strategy of a search. Then adds what the new method has. Everything else
    stays as it is.

    Args:
        cfg: of a pair, or one that was composed before.
        method: see :func:`read_method`.

    Raises:
        ValueError: as :func:`read_method`; or the config distils nothing.
    """
    if not is_distiller(cfg):
        raise ValueError(
            f"--method {method}: model.type is "
            f"{cfg.get('model', {}).get('type')!r}, which learns from no "
            "teacher; accepted: a pair's config, whose model is an "
            'mmrlkd.PyramidDistiller.')
    new = deepcopy(read_method(method))
    parts = cfg.get('parts') or {}
    # _sets: what the old method set of SHARED must not outlive it.
    for key in {*OWNED, *_sets(cfg)}:
        cfg.model.pop(key, None)
    _fill(new, parts)
    cfg.model.update(new.model)

    hooks = new.get('custom_hooks', [])
    names = {_name(hook) for hook in hooks}
    cfg.custom_hooks = [
        hook for hook in cfg.get('custom_hooks') or []
        if not is_methods_hook(hook) and _name(hook) not in names] + hooks

    search = cfg.get('search') or ConfigDict()
    for key in ('strategy', 'staleness', 'then'):
        search.pop(key, None)
    search.update(new.get('search', {}))
    if search:
        cfg.search = search
    name = str(method)
    _settle(cfg, Path(name).stem.replace('-', '_'), list(new.model))


def _sets(cfg: Config) -> list[str]:
    """Arguments of the model that the config's method sets."""
    method = cfg.get('method') or {}
    return list(method.get('sets') or method.get('model') or ())


def _settle(cfg: Config, name: str | None, sets: list[str]) -> None:
    """Replace the ``method`` variable by its name and the arguments it set.

    A full copy would be dumped with the config, and options that change it
    would have no effect.
    """
    if name is None:
        name = (cfg.get('method') or {}).get('name')
    cfg.method = dict(name=name, sets=sorted(sets))
    cfg._cfg_dict.pop('distillation', None)


def _fill(node: Any, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the arguments that the pair has for parts of a method, by their type
    (``parts = dict(TypeName=dict(…))`` in the pair's config)."""
    if isinstance(node, dict):
        for value in node.values():
            _fill(value, parts)
        node.update(parts.get(node.get('type', ''), {}))
    elif isinstance(node, list | tuple):
        for value in node:
            _fill(value, parts)


def _name(hook: Mapping[str, Any]) -> str:
    """Type of a hook, with or without its scope."""
    kind = hook['type']
    return kind if isinstance(kind, str) else kind.__name__


def is_methods_hook(hook: Mapping[str, Any]) -> bool:
    """Whether a hook belongs to the method and is replaced with it: whether it
    is a :class:`~mmrlkd.engine.distiller_hook.DistillerHook`."""
    from mmrlkd.engine.distiller_hook import DistillerHook
    kind = hook['type']
    if isinstance(kind, str):
        # No hook of another library is one, so none is imported here.
        scope, _, name = kind.rpartition('.')
        HOOKS.import_from_location()
        kind = HOOKS.module_dict.get(name) if scope in ('', 'mmrlkd') else None
    return inspect.isclass(kind) and issubclass(kind, DistillerHook)


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse options of variables that are read only while a config is composed.

    Raises:
        ValueError: there is such an option.
    """
    if not is_distiller(cfg):
        return
    for key in options:
        first, _, rest = key.partition('.')
        if first in SOURCES:
            meant = rest if rest.startswith('model.') else ''
            raise ValueError(
                f'--cfg-options {key}: {first} is read when the config is '
                'composed and not after; accepted: options of '
                f'{SOURCES[first]}' + (f', here {meant}.' if meant else '.'))
