"""Make the report's page again, from the results alone.

    python tools/analysis/report.py RESULTS.json [--out report.html]
        [--figure-dir docs/images]
"""

import argparse
from pathlib import Path

import mmrlkd  # noqa: F401
from mmrlkd.config.errors import errors_as_sentences
from mmrlkd.evaluation.results import loads
from mmrlkd.visualization import render, save_figures


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the report of a demo run.')
    parser.add_argument('results', type=Path, help='results.json of the demo')
    parser.add_argument(
        '--out', type=Path,
        help='.html file to write; default: report.html beside the results')
    parser.add_argument(
        '--figure-dir', type=Path,
        help="folder to write the README's figures to, as PNG")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    out = args.out or args.results.with_name('report.html')
    with errors_as_sentences((ValueError, OSError), args.results):
        results = loads(args.results.read_text())
        page = render(results)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page)
    print(f'{out} is written.')
    if args.figure_dir:
        for path in save_figures(results, args.figure_dir):
            print(f'{path} is written.')


if __name__ == '__main__':
    main()
