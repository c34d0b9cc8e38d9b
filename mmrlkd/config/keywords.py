"""The options of a config, compared with the arguments of the classes it names."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmrlkd import registry
from mmrlkd.registry import MODELS, Family

#: Top-level keys that mmengine's Runner, the tools or hooks read.
RUNNER_KEYS = {
    *inspect.signature(Runner.__init__).parameters, 'auto_scale_lr',
    'tta_model', 'tta_pipeline', 'search', 'activation_checkpointing',
    'compile', 'custom_imports', 'data_preprocessor', 'default_scope',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'log_level',
    'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn'} - {'self', 'cfg'}

#: Keys of mmengine's own that may stand in every section.
RESERVED = {'type', '_scope_', '_delete_'}

#: The registry of each key that holds a member of one: ``selector``, ….
#: Descriptors have no options: configs name them.
FAMILIES: dict[str, Family] = {
    member.name.replace(' ', '_'): member
    for member in vars(registry).values()
    if isinstance(member, Family) and member is not registry.DESCRIPTORS}

#: Options that stand in a member's config but are not its arguments: those of
#: :class:`~mmrlkd.distillation.weighting.balancing.Balancing`.
_EXTRA_OPTIONS = {'balancer': ('layer', 'include_task', 'report_every')}

#: Arguments that are passed to a member when it is built, not by the config.
_DERIVED = {'connector': ('student_channels', 'teacher_channels')}

#: For the annotations that values of a config are compared with: the types
#: that fit, and their name in messages.
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    float: ((float, int), 'a number'),
    # 4.0 is left to the class, which knows whether it can use it.
    int: ((float, int), 'an integer'),
    bool: ((bool, ), 'True or False'), str: ((str, ), 'a string'),
    NoneType: ((NoneType, ), 'None'),
    **dict.fromkeys((dict, Mapping), ((Mapping, ), 'a dict')),
    **dict.fromkeys((list, tuple, Sequence), ((list, tuple), 'a list'))}


def type_name(kind: Any) -> str:
    """``'Name'`` of ``'scope.Name'``, of ``'package.module.Name'``, of a class."""
    return (kind.rpartition('.')[2] if isinstance(kind, str) else
            getattr(kind, '__name__', str(kind)))


def near(word: str, words: Sequence[str]) -> str:
    """``'; did you mean …?'`` with the words that resemble ``word``; empty if
    there is none."""
    short = {each.rpartition('.')[2].lower(): each for each in words}
    key = word.rpartition('.')[2].lower()
    alike = [short[each] for each in
             get_close_matches(key, list(short), n=2, cutoff=0.6)]
    alike += [each for name, each in short.items()
              if len(key) > 2 and name.startswith(key) and each not in alike]
    return f"; did you mean {' or '.join(alike[:3])}?" if alike else ''


def parts_with(key: str, model: Mapping[str, Any]) -> str:
    """``'; did you mean …?'`` with the parts of a model that have an option ``key``;
    empty if none has."""
    places = [f'model.{path}.{key}' for path, part in own_sections(model)
              if path and any(
                  key in parameters_of(members.get(part['type']))[0]
                  for members in own_registries() if part['type'] in members)]
    return f"; did you mean {' or '.join(places[:3])}?" if places else ''


def parameters_of(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters of a class's constructor, including those of its parents
    that it accepts by ``**kwargs``.

    Returns:
        The parameters by name, and whether it accepts others as well.
    """
    taken: dict[str, inspect.Parameter] = {}
    for parent in cls.__mro__:
        if '__init__' not in vars(parent):
            continue
        if parent is object:
            return taken, False
        given = list(inspect.signature(
            vars(parent)['__init__']).parameters.values())[1:]
        for each in given:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                taken.setdefault(each.name, each)
        if not any(each.kind == each.VAR_KEYWORD for each in given):
            return taken, False
    return taken, True


def find_class(members: Registry, kind: Any, scope: str | None) -> type | None:
    """The class that a ``type`` names in a library; None if there is none."""
    if not isinstance(kind, str):
        return kind
    with members.switch_scope_and_registry(scope) as found:
        return found.get(kind)


def check_distiller(cfg: Config) -> None:
    """Refuse types and options that a distiller's parts do not have.

    Raises:
        ValueError: with the path of the key and the names that resemble it.
    """
    from mmrlkd.distillation import PyramidDistiller
    from mmrlkd.distillation.teacher.online import Teacher
    model = cfg.model
    cls = find_class(MODELS, model.type, cfg.get('default_scope'))
    _check_options(cls or PyramidDistiller, model, 'model')
    if isinstance(model.get('teacher'), Mapping):
        _check_options(Teacher, model.teacher, 'model.teacher')
    for level, part in (model.get('recipe') or {}).items():
        if isinstance(part, Mapping):
            _check_members(part, f'model.recipe.{level}')
    _check_mmrlkd_types({key: value for key, value in cfg.items()
                      if key in RUNNER_KEYS and key != 'model'})


def _check_members(section: Mapping, path: str) -> None:
    """Check the values of those keys that hold members of families."""
    for key, value in section.items():
        if key in FAMILIES and value is not None:
            _check_member(value, f'{path}.{key}', FAMILIES[key])


def _check_member(section: Any, path: str, family: Family) -> None:
    if section == {}:
        return  # the distiller then builds its default
    family.import_from_location()
    names = [f'mmrlkd.{name}' for name in family.module_dict]
    article = 'an' if family.name[0] in 'aeiou' else 'a'
    if not isinstance(section, Mapping):
        known = family.get(section) if isinstance(section, str) else None
        likely = section if known else '…'
        hint = near(section, names) if isinstance(section, str) else ''
        raise ValueError(
            f'{path} is {section!r}{hint if not known else ""}; accepted: '
            f"dict(type='{likely}', …), the config of {article} "
            f'{family.name}.')
    kind = section.get('type')
    if kind is None:
        raise ValueError(
            f'{path} has no type; accepted: {", ".join(names)}.')
    cls = family.get(kind) if isinstance(kind, str) else kind
    if cls is None:
        raise ValueError(
            f'{path}.type is {kind!r}, which is not {article} {family.name}'
            f'{near(kind, names)}; accepted: {", ".join(names)}, or a class '
            'of your own that custom_imports registers.')
    _check_options(cls, section, path, family)


def _check_options(cls: type, section: Mapping, path: str,
                   family: Registry | None = None,
                   complete: bool = True) -> None:
    """Check a section's keys and the kinds of their values.

    Args:
        cls: what is built from it.
        section: of the config.
        path: of the section.
        family: registry of ``cls``, whose other members an error may name.
        complete: whether all required arguments must be in the section.
    """
    taken, open_ = parameters_of(cls)
    beside = _EXTRA_OPTIONS.get(family.name, ()) if family is not None else ()
    derived = _DERIVED.get(family.name, ()) if family is not None else ()
    taken = {name: each for name, each in taken.items() if name not in derived}
    given = {key: value for key, value in section.items()
             if key not in RESERVED and key not in beside}
    wrong = [key for key in given if key not in taken]
    if wrong and not open_:
        hint = near(wrong[0], [*taken, *beside])
        others = [] if family is None else [
            name for name, other in family.module_dict.items()
            if other is not cls and set(wrong) <= set(parameters_of(other)[0])]
        if others:
            hint = (f', but of {" and ".join(others[:3])}: if '
                    f'{path} inherits it, write _delete_=True beside type')
        raise ValueError(
            f'{", ".join(f"{path}.{key}" for key in wrong)}: no option of '
            f'{cls.__name__}{hint}; accepted: '
            f'{", ".join([*taken, *beside]) or "none"}.')
    missing = [name for name, each in taken.items()
               if each.default is each.empty and name not in given]
    if missing and complete:
        raise ValueError(
            f'{path} has no {missing[0]}, which {cls.__name__} needs; '
            f'accepted: {", ".join(taken)}.')
    _check_members(given, path)
    hints = _hints(cls)
    for key, value in given.items():
        kinds = _kinds(hints.get(key, Any))
        if not (key in FAMILIES or _fits(value, kinds)):
            words = dict.fromkeys(_KINDS[kind][1] for kind in kinds)
            raise ValueError(
                f'{path}.{key} is {value!r}; accepted: {" or ".join(words)}.')


def _hints(cls: type) -> dict[str, Any]:
    """Annotations of the constructors of a class and its parents."""
    hints: dict[str, Any] = {}
    for parent in reversed(cls.__mro__):
        if '__init__' in vars(parent) and parent is not object:
            try:
                hints |= get_type_hints(vars(parent)['__init__'])
            except (NameError, TypeError):
                continue  # names that are imported for type checkers only
    return hints


def _kinds(hint: Any) -> list[Any]:
    """The alternatives of an annotation, without their own arguments."""
    alternatives = (get_args(hint) if get_origin(hint) in (Union, UnionType)
                    else (hint,))
    return [get_origin(kind) or kind for kind in alternatives]


def _fits(value: Any, kinds: Sequence[Any]) -> bool:
    """Whether a value is of one of some kinds. Of a kind that is not in
    :data:`_KINDS` any value may be: its class checks it."""
    return any(
        kind not in _KINDS or isinstance(value, _KINDS[kind][0])
        # True is an int in Python, and no number in a config.
        and (kind is bool or not isinstance(value, bool)) for kind in kinds)


def _check_mmrlkd_types(cfg: Mapping) -> None:
    """Refuse names ``mmrlkd.…`` that this package does not have, and options
    that the named classes do not have."""
    for path, section in own_sections(cfg):
        kind = section['type']
        for members in own_registries():
            cls = members.get(kind)
            if cls is not None:
                _check_options(cls, section, path, complete=False)
                break
        else:
            names = [f'mmrlkd.{name}' for members in own_registries()
                     for name in members.module_dict]
            raise ValueError(
                f'{path}.type is {kind!r}, which this package does not have'
                f'{near(kind, names)}; accepted: one that it has, or one of a '
                'module in custom_imports, which replaces that of the bases.')


def own_registries() -> list[Registry]:
    """All registries of this package."""
    return [member for member in vars(registry).values()
            if isinstance(member, Registry) and member.scope == 'mmrlkd']


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Every part of a config with its dotted path, a dict before its values.

    The part that was yielded may be changed in place before the next is taken.
    """
    yield path, node
    children: Any = (
        node.items() if isinstance(node, Mapping) else
        enumerate(node) if isinstance(node, list | tuple) else ())
    for key, value in children:
        yield from walk(value, f'{path}.{key}' if path else str(key))


def own_sections(config: Any) -> Iterator[tuple[str, dict]]:
    """The parts of a config that name members of this package, by path."""
    for path, part in walk(config):
        kind = part.get('type') if isinstance(part, dict) else None
        if isinstance(kind, str) and kind.startswith('mmrlkd.'):
            yield path, part
