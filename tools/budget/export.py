"""Write controllers as ONNX, by default in int8, and compare them with the float ones.

    python tools/budget/export.py CONTROLLER.pth … PROFILE.parquet [--out FILE.onnx]
        [--float]

PROFILE is the table that a controller was trained with: its images calibrate the
activations of int8, and the choices of both are compared on them. The file takes the
controller's place in ``BudgetedInferencer`` and tools/budget/test.py.
"""

import sys
from pathlib import Path

# Python puts this folder first on the path, where profile.py would hide the
# module of that name in the standard library, which torch imports.
sys.path[:] = [each for each in sys.path
               if Path(each).resolve() != Path(__file__).resolve().parent]

import argparse

import mmrlkd  # noqa: F401
from mmrlkd.arguments import refuse
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.dynamic.deployed import LoadedController, load_controller
from mmrlkd.dynamic.export import export
from mmrlkd.dynamic.table import ProfileTable, read_header


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write controllers as ONNX, and compare them with the float '
        'ones.')
    parser.add_argument('controllers', nargs='+', type=Path, metavar='controller',
                        help='file of tools/budget/train.py')
    parser.add_argument('profile', type=Path, help='table that it was trained with')
    parser.add_argument('--out', type=Path, help='of one controller; default: beside '
                        'it, controller_int8.onnx or controller.onnx')
    parser.add_argument('--float', action='store_true',
                        help='keep the weights as they are')
    args = parser.parse_args(argv)
    if args.out and len(args.controllers) > 1:
        parser.error('--out names one file; accepted: with one controller.')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for path in args.controllers:
        with errors_as_sentences(CONFIG_ERRORS, path):
            write(path, args)


def write(path: Path, args: argparse.Namespace) -> None:
    """Export one controller, and say how well it agrees."""
    controller = load_controller(path)
    if not isinstance(controller, LoadedController):
        refuse('export', 'controller', str(path),
               'one with float weights, a file of tools/budget/train.py')
    header = read_header(args.profile)
    table = ProfileTable.read(
        args.profile, header.kind if header else 'complete',
        controller.space.header())
    out = args.out or path.with_name(
        path.stem + ('' if args.float else '_int8') + '.onnx')
    agreement = export(controller, table, out, not args.float)
    print(f'{out} is written. Of {agreement.pairs} pairs of an image and a '
          f'budget, {agreement.same_setting:.2%} get the same setting as by the '
          f'float controller; log-probabilities differ by {agreement.score_error:.3g} '
          'at most.')


if __name__ == '__main__':
    main()
