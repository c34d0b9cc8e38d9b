"""Draw how the weights of the levels' losses moved in a run.

    python tools/analysis/weight_evolution.py WORK_DIR [--out FILE.png]

Reads the logs of all the times the run was resumed; it may still be running.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mmrlkd  # noqa: F401
from mmrlkd.config.errors import errors_as_sentences
from projects.experiments.figures import weights
from projects.experiments.figures.style import to_png
from projects.experiments.logs import read_training


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Draw the weights of a run's balanced losses.")
    parser.add_argument('work_dir', type=Path, help="the run's work dir")
    parser.add_argument(
        '--out', type=Path, metavar='FILE.png',
        help='file to write; default: weights.png in the work dir')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    out = args.out or args.work_dir / 'weights.png'
    with errors_as_sentences((ValueError,), args.work_dir):
        figure = weights.draw(read_training(args.work_dir))
    to_png(figure, out)
    print(f'{out} is written.')


if __name__ == '__main__':
    main()
