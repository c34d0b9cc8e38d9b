"""Make the report's page again, from the results table.

    python tools/analysis/report.py RESULTS.csv [--out report.html]
        [--figure-dir docs/images]

Curves and pictures come from the runs' folders beside the table, as far as they
are there.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mmrlkd  # noqa: F401
from mmrlkd.config.errors import errors_as_sentences
from projects.experiments.report import save_figures, write_report
from projects.experiments.results import load_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the report of a demo or a comparison.')
    parser.add_argument(
        'results', type=Path,
        help='results.csv of tools/demo.py or tools/compare.py')
    parser.add_argument(
        '--out', type=Path,
        help='.html file to write; default: report.html beside the results')
    parser.add_argument(
        '--figure-dir', type=Path,
        help="folder to write the report's figures to, as PNG")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    out = args.out or args.results.with_name('report.html')
    with errors_as_sentences((ValueError, OSError), args.results):
        table = load_table(args.results)
    write_report(table, args.results.parent, out)
    print(f'{out} is written.')
    if args.figure_dir:
        for path in save_figures(
                table, args.results.parent, args.figure_dir):
            print(f'{path} is written.')


if __name__ == '__main__':
    main()
