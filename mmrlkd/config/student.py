"""The student of a distillation config: its options, and its own config."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from inspect import isclass, isfunction
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from mmrlkd.registry import MODELS, Family

from .keywords import (
    RESERVED,
    RUNNER_KEYS,
    find_class,
    near,
    own_registries,
    own_sections,
    parameters_of,
    parts_with,
    type_name,
    walk,
)

#: Top-level keys that only training reads.
_TRAINING = (
    'auto_scale_lr', 'load_from', 'model_wrapper_cfg', 'optim_wrapper',
    'param_scheduler', 'resume', 'search', 'train_cfg', 'train_dataloader')


def is_distiller(cfg: Config) -> bool:
    """Whether a config's model is a distiller."""
    kind = (cfg.get('model') or {}).get('type', '')
    return type_name(kind).endswith('PyramidDistiller')


def check_distils(cfg: Config) -> None:
    """Refuse a config whose model is not a distiller.

    Raises:
        ValueError: it is not.
    """
    if not is_distiller(cfg):
        raise ValueError(
            f"model.type is {cfg.get('model', {}).get('type')!r}, which distils "
            "nothing; accepted: 'mmrlkd.PyramidDistiller'.")


def model_config(cfg: Config) -> ConfigDict:
    """A config's model with its data preprocessor, as the Runner builds it.

    mmpretrain keeps the preprocessor beside the model.
    """
    model = deepcopy(cfg.model)
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def with_names(cfg: Config) -> Config:
    """A config whose types are names.

    New-style configs (``read_base()``) have classes and lazy objects instead.
    Names of this package without the prefix ``mmrlkd.`` get it, unless the task
    library has a member of that name.
    """
    if _has_objects(cfg._cfg_dict):
        cfg = Config(_named(cfg.to_dict()), filename=cfg.filename)
    _prefix(cfg._cfg_dict, cfg.get('default_scope'))
    return cfg


def _has_objects(node: Any) -> bool:
    if isinstance(node, dict):  # ConfigDict.values() builds the lazy objects
        return any(_has_objects(value) for value in dict.values(node))
    if isinstance(node, list | tuple):
        return any(_has_objects(value) for value in node)
    return isinstance(node, LazyObject | LazyAttr) or isclass(node)


def _named(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _named(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(_named(value) for value in node)
    return (f'{node.__module__}.{node.__qualname__}'
            if isclass(node) or isfunction(node) else node)


def _prefix(config: Any, scope: str | None) -> None:
    """Replace other names of this package's members by ``mmrlkd.Name``.

    Removes the ``_scope_`` that mmengine writes into sections inherited from
    ``mmrlkd::…``: there, this package's types have the prefix, and all others
    are the task library's.
    """
    for _, part in walk(config):
        if not isinstance(part, dict):
            continue
        if part.get('_scope_') == 'mmrlkd':
            del part['_scope_']
        kind = part.get('type')
        name = type_name(kind)
        if isinstance(kind, str) and (
                kind == name or kind.startswith('mmrlkd.')) and any(
                _names(members, kind, scope) for members in own_registries()):
            part['type'] = f'mmrlkd.{name}'


def _names(members: Registry, kind: str, scope: str | None) -> bool:
    """Whether ``kind`` names a member of a registry of this package."""
    members.import_from_location()
    if type_name(kind) not in members.module_dict:
        return False
    if kind.startswith('mmrlkd.'):
        return True
    # A Family finds its members by the bare name. In other registries the
    # task library's class of that name comes first.
    return not isinstance(members, Family) and (
        members.parent is None
        or find_class(members.parent, kind, scope) is None)


def reach_student(cfg: Config) -> None:
    """Move options of a plain model from ``model`` to ``model.student``.

    For example, ``model.test_cfg.score_thr`` of a distillation config becomes
    ``model.student.test_cfg.score_thr``.

    Args:
        cfg: changed in place; a plain model's is left as it is.

    Raises:
        ValueError: neither the distiller nor its student has the option, or
            the keys of a whole model stand beside the distiller's, because
            ``_delete_=True`` was forgotten.
    """
    if not is_distiller(cfg):
        return
    model, scope = cfg.model, cfg.get('default_scope')
    distiller = find_class(MODELS, model.type, scope)
    assert distiller is not None
    own, _ = parameters_of(distiller)
    student = model.get('student')
    if not isinstance(student, Mapping):
        raise ValueError(
            f'model.student is {student!r}; accepted: the model of a config, '
            'such as _base_.model.')
    given = {key: value for key, value in model.items()
             if key not in own and key not in RESERVED}
    if 'data_preprocessor' in model and 'data_preprocessor' in student:
        given['data_preprocessor'] = model.data_preprocessor
    if not given:
        return
    if 'type' in (given.get('backbone') or {}):
        raise ValueError(
            f"model has {', '.join(given)} beside student: those of the "
            'config that it inherits from. Accepted: model=dict(_delete_=True, '
            "type='mmrlkd.PyramidDistiller', student=_base_.model, …), and "
            'changes of the student in model.student.')
    kind = student.get('type', '')
    cls = find_class(MODELS, kind, student.get('_scope_') or scope)
    taken, open_ = ({}, True) if cls is None else parameters_of(cls)
    # A class with **kwargs may take any key, unless it resembles one of the
    # distiller's and is probably misspelt.
    for key in given:
        hint = near(key, [*own])
        if not (key in student or key in taken or (open_ and not hint)):
            raise ValueError(
                f'model.{key}: no option of {type_name(model.type)}, nor of '
                f'its student ({type_name(kind)})'
                f'{parts_with(key, model) or hint or near(key, [*taken])}; '
                f"accepted: {', '.join(dict.fromkeys([*own, *taken]))}.")
    plain = {key: value for key, value in model.items() if key not in given}
    # As mmengine merges a config into its base; keys may be list indices.
    plain['student'] = Config._merge_a_into_b(
        given, student, allow_list_keys=True)
    cfg.model = ConfigDict(plain)


def student_config(cfg: Config) -> Config:
    """A config whose model is the student, without hooks of this package and
    without ``resume`` and ``load_from``. A config that distils nothing keeps its
    model."""
    plain = deepcopy(cfg)
    plain.resume, plain.load_from = False, None
    if not is_distiller(cfg):
        return plain
    plain.model = plain.model.student
    plain.custom_hooks = [hook for hook in plain.get('custom_hooks') or []
                          if not _is_own(hook)]
    plain.default_hooks = {
        key: hook for key, hook in (plain.get('default_hooks') or {}).items()
        if not _is_own(hook)}
    plain.pop('model_wrapper_cfg', None)
    return plain


def _is_own(section: Any) -> bool:
    """Whether a part of a config is a member of this package."""
    kind = section.get('type') if isinstance(section, Mapping) else None
    module = kind if isinstance(kind, str) else getattr(kind, '__module__', '')
    return module.partition('.')[0] == 'mmrlkd'


def plain_student_config(cfg: Config) -> Config:
    """The student's own config, which a checkpoint carries.

    It has what is needed to build the student, to read its test images and to
    draw its predictions. It has no teacher and nothing of this package, so that
    ``DetInferencer(weights=…)`` needs the checkpoint only.

    Args:
        cfg: of a run.
    """
    cfg = with_names(deepcopy(cfg))
    plain = student_config(cfg).to_dict()
    kept: dict[str, Any] = {
        key: value for key, value in plain.items()
        if key in RUNNER_KEYS and key not in _TRAINING}
    # Modules of this package's members, projects' included, are not needed.
    imports = (kept.get('custom_imports') or {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else imports
    own = {cls.__module__ for members in own_registries()
           for cls in members.module_dict.values()} | {'mmrlkd'}
    others = [name for name in imports if name not in own]
    kept.pop('custom_imports', None)
    if others:
        kept['custom_imports'] = dict(
            plain['custom_imports'], imports=others)
    for _, section in own_sections(kept):
        _make_plain(section)
    return Config(kept, format_python_code=False)


def _make_plain(section: dict) -> None:
    """Replace a member of this package by the library's class that it extends,
    and drop the options that only the member has."""
    for members in own_registries():
        cls = members.get(section['type'])
        for parent in () if cls is None else cls.__mro__[1:]:
            if parent.__module__.partition('.')[0] not in ('mmrlkd', 'projects'):
                section['type'] = (
                    f"{parent.__module__.partition('.')[0]}.{parent.__name__}")
                taken, open_ = parameters_of(parent)
                for key in set(section) - set(taken) - RESERVED:
                    if not open_:
                        del section[key]
                return


def settings_of(config: Any, key: str) -> Iterator[Any]:
    """Every value that ``key`` has anywhere inside a config."""
    for _, part in walk(config):
        if isinstance(part, Mapping) and key in part:
            yield part[key]
