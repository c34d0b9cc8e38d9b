"""The results table, summed up over seeds, for a page, a terminal, Markdown."""

from dataclasses import dataclass

import pandas as pd
from rich.table import Table

from .figures.style import display_name, stratum_name
from .runs import TEACHER
from .statistics import Interval, mean_interval, paired_difference

MISSING = '–'
ONE_SEED = 'one seed: no interval'


@dataclass(frozen=True)
class Column:
    """A column that is shown.

    Attributes:
        group: heading over several columns.
        title: of this one.
        key: of the results table.
        digits: after the point.
        scale: what its numbers are multiplied by.
    """
    group: str
    title: str
    key: str
    digits: int
    scale: float = 1.0


_COSTS = (
    Column('distillation, per image', 'levels', 'levels_per_image', 2),
    Column('distillation, per image', 'cost', 'distill_cost', 2),
    Column('distillation, per image', 'cost after warm-up', 'chosen_cost', 2),
    Column('distillation, per image', 'GFLOPs', 'gflops', 3),
    Column('trained selector', 'distinct subsets', 'distinct_subsets', 1),
    Column('training', 'images', 'train_images', 0),
    Column('training', 'student updates', 'student_updates', 0),
    Column('training', 's / iteration', 'seconds', 2),
    Column('search', 'images', 'search_images', 0),
    Column('search', 's', 'search_seconds', 0),
    Column('inference', 'M parameters', 'parameters', 2, 1e-6),
)


def quality_columns(table: pd.DataFrame) -> list[Column]:
    """The task's metrics, overall and by difficulty, in points."""
    main = table.main.iloc[0]
    return [
        Column(group(main) if prefix == 'stratum/' else 'all images',
               name(key.removeprefix(prefix)), key, 1)
        for prefix, group, name in (
            ('metric/', str, str),
            ('stratum/', '{} by difficulty'.format, stratum_name))
        for key in table if key.startswith(prefix)]


def cost_columns(table: pd.DataFrame, narrow: bool = False) -> list[Column]:
    """What training cost, of what is known; none is paid at inference.

    Args:
        table: of results.
        narrow: only what chooses and searches, for a terminal.
    """
    return [column for column in _COSTS
            if column.key in table and table[column.key].notna().any()
            and not (narrow and column.group in ('training', 'inference'))]


def summarise(table: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """Text: a row for each method, mean ± interval over its seeds.

    The last column says which seeds, and where there is no interval.
    """
    rows = {}
    for method, runs in table.groupby('method', sort=False):
        cells = {
            (column.group, column.title): format_interval(
                mean_interval(runs[column.key] * column.scale), column.digits)
            for column in columns}
        cells['', 'seeds'] = seeds_text(runs.seed)
        rows[display_name(str(method))] = cells
    frame = pd.DataFrame.from_dict(rows, orient='index')
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return frame


def differences(table: pd.DataFrame) -> pd.DataFrame | None:
    """Text: how far each method is above another of the table, in points of
    the main metric: mean of the seeds' differences ± its interval.

    The baselines are the student alone, uniform and random levels, controls, and,
    where several fixed subsets were trained, the best of them, which is chosen with
    hindsight on the images it is judged by. None without a baseline.
    """
    baselines = {name: name for name in ('student', 'uniform', 'random')
                 if (table.method == name).any()}
    baselines |= {name: name for name in controls(table)}
    best = best_fixed(table)
    if best:
        baselines[f'best fixed subset ({display_name(best)})'] = best
    shown = table[~table.hindsight].method.unique()
    rows = {
        display_name(method): {
            f'above {display_name(title)}': MISSING if method == other else
            _format_difference(paired_difference(table, method, other))
            for title, other in baselines.items()}
        for method in shown if method != TEACHER}
    frame = pd.DataFrame.from_dict(rows, orient='index')
    return None if frame.empty else frame


def controls(table: pd.DataFrame) -> list[str]:
    """Methods that give a policy's choices to other images."""
    return table[table.selector == 'ControlSelector'].method.unique().tolist()


def best_fixed(table: pd.DataFrame) -> str | None:
    """The fixed subset of the highest mean quality, of equals the cheapest;
    None unless there are several."""
    means = table[table.subset != ''].groupby('method')[
        ['quality', 'distill_cost']].mean()
    if len(means) < 2:
        return None
    return str(means.sort_values(
        ['quality', 'distill_cost'], ascending=[False, True]).index[0])


def seeds_text(seeds: pd.Series) -> str:
    """``'seed 0 (one seed: no interval)'`` or ``'seeds 0, 1'``."""
    names = ', '.join(map(str, seeds))
    return f'seed {names} ({ONE_SEED})' if len(seeds) == 1 else f'seeds {names}'


def format_interval(value: Interval, digits: int, sign: str = '') -> str:
    """``'31.2 ± 0.8'``; no interval where none is known, or it is 0."""
    if pd.isna(value.mean):
        return MISSING
    text = f'{value.mean:{sign}.{digits}f}'
    if not pd.isna(value.half_width) and value.half_width > 0:
        text += f' ± {value.half_width:.{digits}f}'
    return text


def _format_difference(value: Interval | None) -> str:
    if value is None:
        return MISSING
    text = format_interval(value, 1, '+')
    return f'{text} ({ONE_SEED})' if value.count == 1 else text


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """With one row of headings: ``'distillation, per image: cost'``."""
    if frame.columns.nlevels == 1:
        return frame
    groups = [group for group, _ in frame.columns]
    return frame.set_axis(
        [title if group in ('', 'all images') else f'{group}: {title}'
         for group, (_, title) in zip(groups, frame.columns)], axis=1)


def to_terminal(frame: pd.DataFrame, title: str | None = None) -> Table:
    """For rich's console."""
    frame = flat(frame)
    table = Table('method', title=title)
    for name in frame:
        table.add_column(
            name.replace(': ', ':\n'), justify='right', overflow='fold')
    for name, *cells in frame.itertuples():
        table.add_row(name, *cells, end_section=name == TEACHER)
    return table


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table."""
    frame = flat(frame)
    lines = [['method', *frame], ['---', *['---:'] * frame.shape[1]],
             *frame.reset_index().to_numpy().tolist()]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'
