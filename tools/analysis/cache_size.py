"""Bytes that a cache of the teacher's maps takes, without training.

    python tools/analysis/cache_size.py CONFIG --size H W [--images N]

A row for each level, and one for all: kB of one image, and GB of all of them
(docs/teacher_cache.md).
"""

import argparse

from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import check_distils, model_config
from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.teacher.cache import bytes_of
from mmrlkd.registry import MODELS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Bytes that a cache of the teacher's maps takes.")
    parser.add_argument('config', help='config file of a distillation')
    parser.add_argument(
        '--size', nargs=2, type=int, required=True, metavar=('H', 'W'),
        help='of an image as the teacher gets it, padded')
    parser.add_argument(
        '--images', type=int, default=1, metavar='N',
        help='of the data set, times the augmentations of each; default: 1')
    args = parser.parse_args(argv)
    if min(args.images, *args.size) < 1:
        parser.error(f'--size {args.size}, --images {args.images}: accepted '
                     'are numbers >= 1.')
    return args


def levels_of(cfg: Config) -> tuple[Level, ...]:
    """The teacher's levels that a config distils, without its weights."""
    check_distils(cfg)
    if cfg.model.get('teacher'):
        cfg.model.teacher.checkpoint = None
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(model_config(cfg))
    return model.distillation.teacher.levels


def table(levels: tuple[Level, ...], size: tuple[int, int],
          images: int) -> Table:
    """A row for each level and for all."""
    result = Table(title=f'{images} images of {size[0]}×{size[1]} px')
    result.add_column('level')
    for dtype in ('bfloat16', 'exact'):
        result.add_column(f'kB an image, {dtype}', justify='right')
        result.add_column(f'GB, {dtype}', justify='right')
    for name, some in (*((level.name, [level]) for level in levels),
                       ('all', levels)):
        result.add_row(name, *(
            text for dtype in ('bfloat16', 'exact')
            for text in (f'{bytes_of(some, size, dtype) / 1e3:,.1f}',
                         f'{bytes_of(some, size, dtype) * images / 1e9:,.2f}')))
    return result


@errors_as_sentences(subject='cache_size.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        levels = levels_of(load_config(args.config))
    Console().print(table(levels, tuple(args.size), args.images))


if __name__ == '__main__':
    main()
