"""The report: one page that needs nothing outside itself."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from mmrlkd.engine.atomic import write_atomically

from .costs import phases_of
from .figures import cost_quality, curves, examples, selection
from .figures.style import display_name, to_png, to_svg
from .logs import read_training
from .results import SELECTIONS, dumped_config
from .selections import Selections
from .tables import (
    controls,
    cost_columns,
    differences,
    quality_columns,
    summarise,
)

TITLE = 'RL-PyramidKD: which levels, for which image?'
#: In the work dir, beside the table: command, versions, data set.
ABOUT = 'about.json'


class Section(NamedTuple):
    """A table or a figure under a heading, and how to read it."""
    title: str
    note: str
    table: str | None = None
    figure: str | None = None


def write_report(table: pd.DataFrame, work_dir: Path, page: Path) -> None:
    """Write the page.

    Args:
        table: of results.
        work_dir: whose logs and selections tell the rest; a figure that
            nothing is there for is left out, and its note says so.
        page: the file.
    """
    about = work_dir / ABOUT
    render(TITLE, _sections(table, work_dir),
           json.loads(about.read_text()) if about.is_file() else {}, page,
           ' and '.join(map(display_name, controls(table))))


def render(title: str, sections: list[Section], facts: dict[str, Any], page: Path,
           controls: str = '') -> None:
    """Write a page.

    Args:
        title: its heading.
        sections: one after the other.
        facts: how it was made.
        page: the file.
        controls: methods that are controls of others, in words.
    """
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=StrictUndefined).get_template('report.html.j2')
    write_atomically(page, template.render(
        title=title, sections=sections, controls=controls, facts=_flat(facts),
    ).encode())


def save_figures(table: pd.DataFrame, work_dir: Path, folder: Path) -> list[Path]:
    """Write the README's figures as PNG; one that nothing is there for is
    left out.

    Returns:
        The files.
    """
    written = []
    for name, figure in (
            ('cost_quality', cost_quality.draw(table)),
            ('selection', selection.draw(table)),
            ('examples', examples.draw(_selections(table, work_dir)))):
        if figure is not None:
            to_png(figure, folder / f'{name}.png')
            written.append(folder / f'{name}.png')
    return written


def _sections(table: pd.DataFrame, work_dir: Path) -> list[Section]:
    chosen = _selections(table, work_dir)
    above = differences(table)
    runs = table[~table.hindsight]
    logs = {(run.method, run.seed): read_training(work_dir / run.folder)
            for run in runs.itertuples()}
    phases = {}
    for run in runs.itertuples():
        cfg = dumped_config(work_dir / run.folder)
        phases[run.method] = [] if cfg is None else [
            (name, length) for name, length, _ in phases_of(cfg, run.iterations)]
    sections = [Section(
        'What each model reached',
        'In points (0 to 100), on the validation images. ±: 95 % t-interval '
        'over the seeds. Where the last column says “one seed: no interval”, '
        'the row is no result: another seed may give another order. “–”: there '
        'is no such object, or it does not apply.',
        _html(summarise(table, quality_columns(table))))]
    if above is not None:
        sections.append(Section(
            'Differences', f'Of {table.main.iloc[0]}, in points: mean over the '
            'seeds that both have of the difference within a seed, with its '
            '95 % t-interval. One that includes 0 shows no difference.',
            _html(above)))
    return [
        *sections,
        Section(
            'What training cost',
            'Means over all iterations of a run, phases that distil everything '
            'included. “Distinct subsets”: how many different subsets of the '
            'levels the trained selector gives to the validation images, mean '
            'over the seeds; 1 means that it is in fact one fixed subset. GFLOPs '
            "are counted, without the teacher's backbone and lateral maps; "
            'seconds are wall-clock and depend on what else the machine did. '
            'Nothing of this is paid at inference: every student is the same '
            'network.', _html(summarise(table, cost_columns(table)))),
        _figure('Cost and quality', cost_quality.draw(table),
                'Cost is that of distilling an image in a training iteration, '
                'mean over the run. Bars, where there are any, are 95 % '
                'intervals over seeds.', 'No method distilled anything.'),
        _figure('Levels selected, by difficulty', selection.draw(table),
                'Share of the validation images of each stratum that get a '
                'level from the trained selector, which takes the likeliest '
                'choice and samples nothing.',
                'No selector here looks at the image.'),
        _figure('Levels chosen for single images', examples.draw(chosen),
                examples.caption(chosen),
                'The images are not at hand, their difficulty is not known, or '
                'no selector looked at them.'),
        _figure('Training', curves.draw(logs, phases),
                'As logged, each point a mean over the iterations since the one '
                "before. Dotted lines part the phases of the policy's training.",
                'The logs are not at hand.'),
    ]


def _selections(table: pd.DataFrame, work_dir: Path) -> dict[str, Selections]:
    """Of each adaptive method's first seed."""
    found = {}
    for run in selection.adaptive(table).itertuples():
        file = work_dir / run.folder / SELECTIONS
        if run.method not in found and file.is_file():
            found[run.method] = Selections.loads(file.read_text())
    return found


def _figure(title: str, figure: Figure | None, note: str,
            missing: str) -> Section:
    if figure is None:
        return Section(title, missing)
    return Section(title, note, figure=to_svg(figure, title))


def _html(frame: pd.DataFrame) -> str:
    return frame.to_html(border=0)


def _flat(facts: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested facts by dotted names."""
    found: dict[str, Any] = {}
    for key, value in facts.items():
        found |= (_flat(value, f'{prefix}{key}.') if isinstance(value, dict)
                  else {f'{prefix}{key}': value})
    return found
