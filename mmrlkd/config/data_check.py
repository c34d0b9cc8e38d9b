"""The data sets of a config, built and compared with its model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmrlkd.files import relative_to

from .inspection import data_sets
from .keywords import find_class, parameters_of
from .student import is_distiller

#: Heads with other classes than the annotations: object or background, and
#: the stuff classes of a semantic branch, as HTC has one.
_OTHER_CLASSES = ('rpn_head', 'semantic_head')


def check_data(cfg: Config) -> list[str]:
    """Build the data sets, read some of their images and compare their classes
    with the annotation files and with the student's heads.

    Args:
        cfg: of a run, with the task library's scope set.

    Returns:
        One line about each data set.

    Raises:
        ValueError: a data set cannot be built or read, has other classes than
            its annotation file, or than the student's heads.
    """
    lines: list[str] = []
    classes: dict[str, list[str]] = {}
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        top = f'{split}_dataloader.dataset'
        for key, section in data_sets(loader.get('dataset'), top):
            data = _build(section, key, cfg.get('default_scope'))
            names = list(data.metainfo.get('classes') or ())
            lines.append(f'{key}: {_check_images(data, section, key)}'
                         + (f' of {len(names)} classes' if names else ''))
            if names:
                classes[key] = names
    _check_same_classes(classes)
    if classes:
        key, names = next(iter(classes.items()))
        model = cfg.model.student if is_distiller(cfg) else cfg.model
        path = 'model.student' if is_distiller(cfg) else 'model'
        for place, number in _head_classes(model, path):
            # Heads of GLIP and Grounding DINO have a class for each text token.
            if number != len(names) and 'language_model' not in model:
                raise ValueError(
                    f'{place} is {number}, but {key} has {len(names)} classes '
                    f'({_shortened(names)}); accepted: {len(names)}, or '
                    f'{key}.metainfo=dict(classes=…) with {number} names.')
    for split in ('val', 'test'):
        _check_evaluator(cfg.get(f'{split}_evaluator'), f'{split}_evaluator')
    return lines


def _build(section: Mapping, key: str, scope: str | None) -> BaseDataset:
    """A data set, whose classes its annotation file has."""
    cls = find_class(DATASETS, section.get('type'), scope)
    # Where possible, classes are compared before annotations are read: mmdet
    # drops objects of unknown classes, then images without objects, and fails
    # with a message about arrays if none is left.
    waits = cls is not None and 'lazy_init' in parameters_of(cls)[0]
    try:
        data = DATASETS.build(dict(section, lazy_init=True) if waits else section)
        names = list(data.metainfo.get('classes') or ())
    except Exception as error:  # whatever a library's data set may raise
        raise _not_built(key, error) from error
    _check_categories(section, names, key)
    if waits:
        try:
            data.full_init()
        except Exception as error:
            raise _not_built(key, error) from error
    return data


def _not_built(key: str, error: Exception) -> ValueError:
    return ValueError(f'{key} cannot be built: {type(error).__name__}: {error}')


def _check_categories(section: Mapping, names: list[str], key: str) -> None:
    """Refuse classes that the annotation file does not have.

    mmdet's CocoDataset drops such classes without an error and numbers the
    others anew, so that predictions are evaluated as other classes.
    """
    files = section.get('ann_file') or ()
    for file in [files] if isinstance(files, str) else files:
        path = Path(section.get('data_root') or '', file)
        if path.suffix != '.json' or not path.is_file():
            continue
        content = json.loads(path.read_text())
        if not isinstance(content, Mapping) or 'categories' not in content:
            continue
        known = [str(each.get('name')) for each in content['categories']]
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f'{key}.metainfo has the classes {_shortened(names)}, of which '
                f'{path} has no {_shortened(missing)}; accepted: the categories of '
                f'that file, metainfo=dict(classes=({_shortened(known, quote=True)}'
                ',)).')


def _check_images(data: BaseDataset, section: Mapping, key: str) -> str:
    """Read the first, the middle and the last image."""
    if len(data) == 0:
        raise ValueError(
            f'{key} has no images with annotations; accepted: an ann_file, '
            "metainfo['classes'] and filter_cfg that leave some.")
    # Through the whole pipeline, so that a wrong prefix or transform shows.
    for index in sorted({0, len(data) // 2, len(data) - 1}):
        try:
            data[index]
        except Exception as error:  # whatever a transform may raise
            raise ValueError(
                f'{key}: image {index} cannot be read ({error}), relative to '
                f'{Path.cwd()}; accepted: data_root='
                f'{section.get("data_root")!r} and data_prefix='
                f'{dict(section.get("data_prefix") or {})} of the folder that '
                'has the images, and a pipeline that can use them.'
            ) from error
    return f'{len(data)} images'


def _check_same_classes(classes: Mapping[str, list[str]]) -> None:
    if not classes:
        return
    first, names = next(iter(classes.items()))
    for key, others in classes.items():
        if others != names:
            raise ValueError(
                f'{key} has the classes {_shortened(others)}, {first} has '
                f'{_shortened(names)}; accepted: the same in the same order.')


def _head_classes(node: Any, path: str, in_head: bool = False
                  ) -> Iterator[tuple[str, int]]:
    """Path and value of ``num_classes`` in the heads of a model's config."""
    if isinstance(node, Mapping):
        if in_head and isinstance(node.get('num_classes'), int):
            yield f'{path}.num_classes', node['num_classes']
        for key, value in node.items():
            if key not in _OTHER_CLASSES and not key.startswith('loss'):
                yield from _head_classes(
                    value, f'{path}.{key}', in_head or 'head' in key)
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _head_classes(value, f'{path}.{i}', in_head)


def _check_evaluator(evaluator: Any, key: str) -> None:
    several = isinstance(evaluator, list | tuple)
    for i, each in enumerate(evaluator if several else [evaluator]):
        file = each.get('ann_file') if isinstance(each, Mapping) else None
        if isinstance(file, str) and '://' not in file and not (
                each.get('backend_args') or Path(file).is_file()):
            raise ValueError(
                f'{key}{f".{i}" if several else ""}.ann_file: {file}'
                f'{relative_to(file)} is not a file; accepted: the annotations of the '
                'data set that it evaluates.')


def _shortened(names: list[str], quote: bool = False) -> str:
    shown = [repr(name) if quote else name for name in names[:5]]
    return ', '.join(shown) + (', …' if len(names) > 5 else '')
