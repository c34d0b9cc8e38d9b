"""Tell which levels a trained selector gives to the validation images.

    python tools/analysis/level_selection.py CONFIG CHECKPOINT
        [--out selections.json]

CONFIG is the one that the run wrote into its work dir. Prints the share of
images that get each level, by difficulty; the file has every image.
"""

import argparse
import sys
from pathlib import Path

from mmengine.device import get_device
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.engine.trained import load_distiller
from projects.experiments.selections import Selections, select


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Levels that a trained selector chooses for each image.')
    parser.add_argument('config', help="the run's config")
    parser.add_argument('checkpoint', help='that the run wrote')
    parser.add_argument('--out', type=Path, help='.json file to write')
    return parser.parse_args(argv)


def describe(chosen: Selections) -> Table:
    """A row for each stratum."""
    table = Table('images', *chosen.levels, 'levels per image')
    for stratum, rates in chosen.rates().iterrows():
        table.add_row(str(stratum), *(f'{rate:.0%}' for rate in rates),
                      f'{rates.sum():.2f}')
    table.caption = (
        f'{len(chosen.images)} images, '
        f'{chosen.images.levels.nunique()} distinct subsets')
    return table


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = load_config(args.config)
        model = load_distiller(cfg, args.checkpoint, get_device())
        chosen = select(model, cfg)
    Console().print(describe(chosen))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(chosen.dumps())
        print(f'{args.out} is written.')


if __name__ == '__main__':
    main()
