"""Hold out a part of the training images for a search.

    python tools/datasets/hold_out.py data/coco/annotations/instances_train2017.json
    python tools/datasets/hold_out.py data/ade/ADEChallengeData2016/images/training
    python tools/datasets/hold_out.py data/imagenet/train

writes search_train and search_val beside the file or the folder: as .json for
COCO, otherwise as .txt. The scenes of make_scenes.py come with both.
"""

import argparse
from pathlib import Path

from mmrlkd.config.errors import errors_as_sentences
from mmrlkd.datasets.hold_out import hold_out


@errors_as_sentences((OSError, ValueError, KeyError), 'hold_out.py')
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        'images', type=Path, help='the training images: COCO json, a list of '
        'them, or their folder (with a folder for each class, or without)')
    parser.add_argument(
        '--share', type=float, default=0.05,
        help='of the images to hold out; default: 0.05')
    parser.add_argument('--seed', type=int, default=0, help='of the random choice')
    args = parser.parse_args(argv)
    paths = hold_out(args.images, args.share, args.seed)
    print('Written: ' + ' and '.join(map(str, paths)))


if __name__ == '__main__':
    main()
