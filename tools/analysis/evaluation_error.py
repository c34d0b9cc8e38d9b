r"""How much of a difference of two detectors is due to the images they are judged on.

    python tools/analysis/evaluation_error.py ANNOTATIONS ONE.bbox.json OTHER.bbox.json
        [--resamples 200]

The boxes of a checkpoint are written by

    python tools/test.py CONFIG CHECKPOINT \
        --cfg-options test_evaluator.outfile_prefix=ONE

Both detectors are judged on images drawn with replacement. What is printed is the
error of one pair of trainings; the seeds' own variance comes on top of it.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.errors import errors_as_sentences
from projects.experiments.evaluation_error import difference


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Bootstrap the images that two detectors are judged on.')
    parser.add_argument('annotations', type=Path, help='COCO file of the images')
    parser.add_argument('results', nargs=2, type=Path, metavar='BOXES.json',
                        help="COCO's format for results, of the two")
    parser.add_argument('--resamples', type=int, default=200, metavar='N',
                        help='draws of the images; default: 200')
    args = parser.parse_args(argv)
    if args.resamples < 2:
        parser.error(f'--resamples {args.resamples}: accepted is a number >= 2.')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for file in (args.annotations, *args.results):
        if not file.is_file():
            sys.exit(f'{file} is not a file; accepted: annotations, and boxes that '
                     'tools/test.py wrote with test_evaluator.outfile_prefix.')
    with errors_as_sentences((ValueError, KeyError, AssertionError), args.annotations):
        found = difference(args.annotations, args.results, args.resamples)
    print(f'{found["difference"]:+.2f} points of mAP on {found["images"]} images; '
          f'standard error of the images {found["error"]:.2f}, 95 % interval '
          f'{found["low"]:+.2f} to {found["high"]:+.2f}.')


if __name__ == '__main__':
    main()
