"""Place real objects on textured canvases, with known difficulty.

    python tools/datasets/make_scenes.py data/scenes

writes detection, instance segmentation, segmentation and classification data
of the same objects into one folder; see ``projects/scenes/writer.py`` for its
layout. The same arguments give the same bytes.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.errors import SENTENCES, errors_as_sentences
from projects.scenes.difficulty import STRATA
from projects.scenes.scenes import SceneConfig
from projects.scenes.sources import SOURCES
from projects.scenes.writer import write_dataset


class _Parser(argparse.ArgumentParser):

    def error(self, message: str):
        """Say what is wrong in one line, without the usage."""
        self.exit(2, f'{self.prog}: {message}\n')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(description=__doc__.split('\n')[0])
    default = SceneConfig()
    add = parser.add_argument
    add('folder', type=Path, help='where to write, e.g. data/scenes')
    add('--train', type=int, default=default.train, help='training images')
    add('--val', type=int, default=default.val, help='validation images')
    add('--size', type=int, default=default.size,
        help='height and width, in pixels')
    add('--seed', type=int, default=default.seed)
    add('--source', default=default.source,
        help=f'auto (the first to be had) or one of {", ".join(SOURCES)}')
    add('--classes', type=int, default=default.classes,
        help='5 (by shape) or 10 (all of the source)')
    add('--proportions', type=float, nargs=len(STRATA), metavar='SHARE',
        default=default.proportions,
        help=f'relative shares of images with {", ".join(STRATA)} objects')
    add('--dense-small', type=float, default=default.dense_small,
        help='share of images with more than 7 objects that are all small')
    add('--max-occlusion', type=float, default=default.max_occlusion,
        help='largest share of an object that others may hide')
    add('--clutter', type=int, default=default.clutter,
        help='most fragments, not annotated, in an image')
    add('--second-camera', type=float, default=default.second_camera,
        help='share of the images taken by a second camera: negatives with a '
        'colour cast and noise; default: 0')
    add('--jobs', type=int, default=os.cpu_count() or 1,
        help='processes; they change the speed only')
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f'jobs must be 1 or more; got {args.jobs}.')
    args.proportions = tuple(args.proportions)
    options = {k: v for k, v in vars(args).items() if k not in ('folder', 'jobs')}
    try:
        args.config = SceneConfig(**options)
    except ValueError as error:
        parser.error(str(error))
    return args


# A source that cannot be had is a RuntimeError.
@errors_as_sentences((*SENTENCES, OSError, RuntimeError), 'make_scenes.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    written = write_dataset(args.folder, args.config, args.jobs)
    print(f'{args.folder} is written.' if written else
          f'{args.folder} already holds these scenes; nothing to do.')


if __name__ == '__main__':
    main()
