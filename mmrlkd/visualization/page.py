"""The report: one page that needs nothing outside itself."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mmrlkd.evaluation.results import Results

from . import cost_quality, curves, examples, selection_figure
from .style import to_png, to_svg
from .table import Column, Row, cost_columns, quality_columns, rows
from .verdicts import verdicts

TITLE = 'RL-PyramidKD: which levels, for which image?'


@dataclass(frozen=True)
class Shown:
    """A figure of the report.

    Attributes:
        title: its heading.
        draw: makes it; None where the results do not hold it.
        caption: how to read it.
        missing: says why it is not there.
    """
    title: str
    draw: Callable[[Results], Figure | None]
    caption: str
    missing: str


#: By the name of the file that :func:`save_figures` writes.
FIGURES = {
    'cost_quality': Shown(
        'Cost and quality', cost_quality.draw,
        'Cost is what distilling an image cost in a training iteration, on '
        'average over the run; the teacher’s trunk, the same for all that '
        'distil, is left out. Bars, where there are any, are 95 % intervals '
        'over seeds.',
        'No method distilled anything, so there is no cost to show.'),
    'selection': Shown(
        'Levels selected, by difficulty', selection_figure.draw,
        'Share of the validation images of each stratum that get a level from '
        'the trained selector, which takes the likeliest choice and samples '
        'nothing. Methods that treat all images alike are left out.',
        'No selector here looks at the image, so all strata get the same '
        'levels.'),
    'examples': Shown(
        'Levels chosen for single images', examples.draw,
        'The first validation images of each stratum, not the prettiest. '
        'Boxes are the ground truth; a level that is lit was selected.',
        'The images are not at hand, their difficulty is not known, or no '
        'selector looked at them.'),
    'curves': Shown(
        'Training', curves.draw,
        'As logged, each point a mean over the iterations since the one '
        'before. Dotted lines part the phases of the policy’s training.',
        'The runs logged no scalars.'),
}

#: What the README shows.
_FOR_README = ('cost_quality', 'selection', 'examples')


def render(results: Results) -> str:
    """The page, as HTML."""
    found = ''.join(f'<li>{escape(text)}</li>' for text in verdicts(results))
    return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE)}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
<h1>{escape(TITLE)}</h1>
<p class="lead">{escape(describe(results))}</p>
<section class="card"><h2>What came out</h2><ul>{found}</ul></section>
<section><h2>What each model reached</h2>
{_table(results, quality_columns(results), seeds=True)}
<p class="note">In points (0 to 100), on the validation images. Bold: the best
student of the column, not counting the teacher; whether a difference means
anything is said above. “–”: there is no such object, or it does not apply.
±: 95 % interval over seeds.</p></section>
<section><h2>What training it cost</h2>
{_table(results, cost_columns(results))}
<p class="note">Means over all iterations of the run, so phases that distil
everything count too. Bold: the lowest among those that distil. GFLOPs are
counted, two for each multiply-add; seconds are wall-clock and depend on what
else the machine did. Hover over a heading to read what it is.</p></section>
{''.join(_figure(shown, results) for shown in FIGURES.values())}
<details><summary>How this was made</summary>
{_facts(results.header)}</details>
</main>
</body>
</html>
'''


def save_figures(results: Results, folder: Path) -> list[Path]:
    """Write the README's figures as PNG.

    Returns:
        The files; a figure that the results do not hold is left out.
    """
    written = []
    for name in _FOR_README:
        figure = FIGURES[name].draw(results)
        if figure is not None:
            to_png(figure, folder / f'{name}.png')
            written.append(folder / f'{name}.png')
    return written


def describe(results: Results) -> str:
    """What was done, in a paragraph."""
    data = results.header.get('dataset', {})
    counts = {split: data.get('counts', {}).get(split, {}).get('images')
              for split in ('train', 'val')}
    parameters = data.get('parameters', {})
    methods = results.by_method()
    teacher = methods.get('teacher')
    text = ''
    if all(counts.values()):
        text += (
            f'{counts["train"]} images to train on and {counts["val"]} to '
            f'validate on were made by placing {parameters.get("source")} '
            f'objects on {parameters.get("size")} px canvases, ' + (
                'with known numbers of objects. '
                if results.task.by_difficulty else 'one on each. '))
    if teacher:
        text += (f'A teacher was trained on them for '
                 f'{teacher[0].iterations} iterations. ')
    students = [run for run in results.runs if run.method != 'teacher']
    if students:
        lengths = sorted({run.iterations for run in students})
        seeds = sorted({run.seed for run in students})
        text += (
            f'Then the same small student was trained in '
            f'{_number(len(methods) - bool(teacher), "way")}, for '
            f'{" or ".join(map(str, lengths))} iterations each, with '
            f'{_number(len(seeds), "seed")}: alone, or learning from the '
            'teacher’s '
            + ('logits, or from its ' if any(
                run.logit_gflops is not None for run in students) else '')
            + 'pyramid at fixed levels or at levels chosen for each image.')
    return text.strip()


def _number(count: int, noun: str) -> str:
    return f'one {noun}' if count == 1 else f'{count} {noun}s'


def _table(results: Results, columns: list[Column],
           seeds: bool = False) -> str:
    groups = ''.join(
        f'<th colspan="{len(list(some))}" scope="colgroup">{escape(group)}'
        '</th>' for group, some in groupby(columns, lambda c: c.group))
    titles = ''.join(
        f'<th scope="col"{_hint(c)}{_edge(columns, i)}>{escape(c.title)}</th>'
        for i, c in enumerate(columns))
    body = ''.join(
        _row(row, columns, seeds) for row in rows(results, columns))
    last = '<th rowspan="2" scope="col">seeds</th>' if seeds else ''
    return f'''<div class="scroll"><table>
<thead><tr><th rowspan="2" scope="col">model</th>{groups}
{last}</tr><tr>{titles}</tr></thead>
<tbody>{body}</tbody></table></div>'''


def _row(row: Row, columns: list[Column], seeds: bool) -> str:
    cells = ''.join(
        f'<td{_edge(columns, i)}>'
        + (f'<b>{cell.html}</b>' if cell.best else cell.html) + '</td>'
        for i, cell in enumerate(row.cells))
    kind = ' class="teacher"' if row.method == 'teacher' else ''
    last = f'<td class="edge">{escape(row.seeds)}</td>' if seeds else ''
    return (f'<tr{kind}><th scope="row">{escape(row.name)}</th>{cells}{last}'
            '</tr>')


def _hint(column: Column) -> str:
    return f' title="{escape(column.hint)}"' if column.hint else ''


def _edge(columns: list[Column], i: int) -> str:
    """Marks the first column of a group."""
    first = i == 0 or columns[i - 1].group != columns[i].group
    return ' class="edge"' if first else ''


def _figure(shown: Shown, results: Results) -> str:
    figure = shown.draw(results)
    if figure is None:
        body = f'<p class="note">{escape(shown.missing)}</p>'
    else:
        body = (f'<figure>{to_svg(figure, escape(shown.title))}'
                f'<figcaption>{escape(shown.caption)}</figcaption></figure>')
    return f'<section><h2>{escape(shown.title)}</h2>{body}</section>'


def _facts(header: dict[str, Any]) -> str:
    """Nested facts as nested lists."""
    items = ''
    for key, value in header.items():
        if isinstance(value, dict):
            inner = _facts(value)
        elif isinstance(value, list):
            inner = escape(', '.join(map(str, value)))
        else:
            inner = escape(str(value))
        items += f'<dt>{escape(key.replace("_", " "))}</dt><dd>{inner}</dd>'
    return f'<dl>{items}</dl>'


_CSS = '''
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e;
  --page: #fff; --card: #f3f6fa; --rule: #d8dee5; --accent: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3;
  --soft: #9aa4af; --page: #0d1117; --card: #161c24; --rule: #30363d;
  --accent: #58a6ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  "DejaVu Sans", sans-serif; }
main { max-width: 78rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .8rem; }
h2 { font-size: 1.2rem; margin: 0 0 .7rem; }
section { margin-top: 2.4rem; }
.lead { font-size: 1.05rem; color: var(--soft); max-width: 48rem; margin: 0; }
.card { background: var(--card); border-left: 4px solid var(--accent);
  border-radius: 6px; padding: 1.1rem 1.4rem; margin-top: 1.8rem; }
.card ul { margin: 0; padding-left: 1.1rem; }
.card li + li { margin-top: .45rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .84rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .4rem; text-align: right; white-space: nowrap; }
thead th { font-weight: 600; color: var(--soft); vertical-align: bottom;
  white-space: normal; line-height: 1.25; }
thead th[colspan] { text-align: center; border-left: 1px solid var(--rule);
  border-bottom: 1px solid var(--rule); }
th[title] { cursor: help; }
thead th:first-child, tbody th { text-align: left; }
thead tr:last-child th { text-align: right; }
thead { border-bottom: 2px solid var(--rule); }
tbody th { font-weight: 600; }
tbody tr + tr { border-top: 1px solid var(--rule); }
tr.teacher { color: var(--soft); font-style: italic; }
tbody tr.teacher + tr { border-top: 2px solid var(--soft); }
td small { font-size: .84em; }
td b { color: var(--accent); }
.edge { border-left: 1px solid var(--rule); }
.note, figcaption { font-size: .86rem; color: var(--soft); }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; margin-bottom: .4rem; }
details { margin-top: 2.6rem; border-top: 1px solid var(--rule);
  padding-top: 1rem; font-size: .86rem; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem;
  margin: .6rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
dd > dl { margin: 0; }
'''
