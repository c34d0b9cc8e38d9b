"""Whether a choice pays: paired differences at equal cost, world by world."""

from collections.abc import Iterator

import pandas as pd

from .runs import TEACHER
from .statistics import Interval, mean_interval, paired_difference
from .study import Study
from .tables import MISSING, format_interval

#: What a fixed subset may cost more than the method that it is compared with,
#: as a share: costs of a mean budget are held, not met exactly.
TOLERANCE = 0.01


def best_fixed_within(table: pd.DataFrame, method: str,
                      column: str = 'distill_cost') -> str | None:
    """The fixed subset, among those of no greater cost, that a method is least
    above in the mean over their pairs: one for all pairs, chosen with hindsight.
    None if there is none.

    Args:
        table: rows of one world; its ``method`` names entries.
        method: that is compared.
        column: of the costs.
    """
    costs = table.groupby('method')[column].mean()
    gaps = {other: paired_difference(table, method, other)
            for other in table[table.subset != ''].method.unique()
            if costs[other] <= costs[method] * (1 + TOLERANCE)}
    means = {other: gap.mean for other, gap in gaps.items() if gap}
    return min(means, key=means.__getitem__, default=None)


def differences(study: Study, rows: pd.DataFrame,
                column: str = 'distill_cost') -> pd.DataFrame:
    """How far each entry with a budget is above what it is compared with: entries
    of the same budget, and those without one.

    Args:
        study: whose families are compared at equal budgets.
        rows: its results.
        column: of the costs, ``'distill_cost'`` or, without the warm-up,
            ``'chosen_cost'``.

    Returns:
        One row for each comparison of two pairs or more: ``world``, ``entry``,
        ``other``, ``budget``, ``cost`` of the entry, whether the other is the
        best fixed subset of no greater cost, and ``mean``, ``half_width``
        (Student's t, 95 %) and ``count`` of the pairs' differences in points;
        of each ``stratum/NAME``, an interval. A pair has one teacher and seed.
    """
    found: list[dict] = []
    for world, table in _worlds(rows):
        trained = [entry for entry in study.entries
                   if (table.method == entry.name).any()]
        for entry in trained:
            if entry.budget is None:
                continue
            # Where a control is beside what it controls, the other row tells it.
            budgets = (None, ) if entry.control else (entry.budget, None)
            cost = table[table.method == entry.name][column].mean()
            others = [other.name for other in trained
                      if other.budget in budgets
                      and other is not entry and other.method is not None]
            subsets = table[table.subset != ''].method.unique()
            best = best_fixed_within(table, entry.name, column)
            for other in dict.fromkeys([*others, *subsets]):
                value = paired_difference(table, entry.name, other)
                # One pair is no result.
                if value and value.count > 1:
                    found.append(dict(
                        world=world, entry=entry.name, budget=entry.budget,
                        cost=cost, other=other, best_fixed=other == best,
                        **value._asdict(), **{
                            key: paired_difference(table, entry.name, other, key)
                            for key in _strata(table)}))
    return pd.DataFrame(found, columns=[
        'world', 'entry', 'budget', 'cost', 'other', 'best_fixed',
        *Interval._fields, *_strata(rows)])


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Text: a row for each world and entry, mean ± interval over its trainings;
    a + parts the seeds of one teacher from those of another."""
    found = []
    for world, table in rows.groupby('world', sort=False):
        for name, runs in table.groupby('entry', sort=False):
            found.append({
                'world': str(world), 'entry': str(name),
                'seeds': ' + '.join(
                    ' '.join(map(str, sorted(some.seed)))
                    for _, some in runs.groupby('teacher', sort=False)),
                'mAP': format_interval(mean_interval(runs.quality), 1),
                **{key.removeprefix('stratum/'): format_interval(
                    mean_interval(runs[key]), 1) for key in _strata(table)},
                'cost': f'{runs.distill_cost.mean():.2f}',
                'after the warm-up': f'{runs.chosen_cost.mean():.2f}'})
    return pd.DataFrame(found).fillna(MISSING)


def page(study: Study, rows: pd.DataFrame,
         column: str = 'distill_cost') -> str:
    """Both tables as Markdown, and where the numbers come from."""
    gaps = differences(study, rows, column)
    text = gaps.assign(
        difference=[format_interval(Interval(*value), 2, '+') for value in
                    gaps[list(Interval._fields)].itertuples(index=False)],
        pairs=gaps['count'], cost=gaps.cost.map('{:.2f}'.format),
        other=gaps.other.where(
            ~gaps.best_fixed.astype(bool), gaps.other + ' (best fixed)'),
        **{key.removeprefix('stratum/'): [
            format_interval(value, 2, '+') if isinstance(value, Interval)
            else MISSING for value in gaps[key]] for key in _strata(rows)})
    text = text[['world', 'entry', 'cost', 'other', 'difference', 'pairs',
                 *(key.removeprefix('stratum/') for key in _strata(rows))]]
    origin = rows[rows.entry != TEACHER]
    return '\n'.join([
        '## Differences in points, paired by teacher and seed', '', _markdown(text),
        '## Means over the trainings', '', _markdown(means(rows)),
        '± is half of the 95 % interval of Student\'s t. cost: nominal, an '
        'image, mean over all iterations. Best fixed: of the subsets that cost no '
        'more, the one that it is least above in the mean, by hindsight. '
        'Columns of strata: the same of their images.', '',
        f'{len(origin)} trainings; commits {_names(origin.commit)}, torch '
        f'{_names(origin.torch)}, {_names(origin.threads)} thread.',
        *_changed(origin), ''])


def _changed(rows: pd.DataFrame) -> list[str]:
    """A sentence on entries whose config changed from one row to another; rows
    from before configs were noted are not known to differ."""
    if 'config' not in rows:
        return []
    known = rows[rows.config.fillna('') != '']
    configs = known.groupby(['world', 'entry'], sort=False).config.nunique()
    names = [f'{entry} ({world})' for world, entry in configs[configs > 1].index]
    return ['', f'The config changed between rows of {", ".join(names)}.'
            ] if names else []


def _worlds(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each world; ``method`` becomes the entry's name, and ``seed``
    tells teachers apart: what learned from another teacher is no pair."""
    pairs = rows.teacher + ' ' + rows.seed.astype(str)
    for world, table in rows.assign(method=rows.entry, seed=pairs).groupby(
            'world', sort=False):
        yield str(world), table


def _strata(rows: pd.DataFrame) -> list[str]:
    """Columns of the metric by stratum, where there are numbers."""
    return [key for key in rows if key.startswith('stratum/')
            and rows[key].notna().any()]


def _names(values: pd.Series) -> str:
    return ', '.join(sorted(map(str, values.unique())))


def _markdown(frame: pd.DataFrame) -> str:
    lines = [list(map(str, frame)), ['---'] * frame.shape[1],
             *frame.astype(str).to_numpy().tolist()]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'
