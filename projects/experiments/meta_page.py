"""The page of the meta-learning study."""

from collections.abc import Sequence

import pandas as pd

from .meta_study import (
    BEST,
    ENUMERATED,
    FIXED,
    JOINT,
    RATES,
    SCRATCH,
    SEARCHED,
    TRIED,
    UPDATES,
    Settings,
)
from .statistics import Interval, mean_interval, paired_difference

#: Updates after which adapted policies are compared with what needs none or more.
FEW, MANY = 5, 50


def by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the tasks left out: a row for each seed and entry. Seeds that
    lack a task are left out."""
    complete = rows.groupby('seed').left_out.transform('nunique')
    rows = rows[complete == rows.left_out.nunique()]
    return rows.groupby(['method', 'updates', 'seed'], sort=False,
                        as_index=False).regret.mean()


def entry(method: str, updates: int) -> str:
    """``'MAML, 5 updates'``; fixed choices need none."""
    return method if method in FIXED else f'{method}, {updates} updates'


def page(rows: pd.DataFrame, settings: Settings, command: str) -> str:
    """Markdown: means, each task, and paired differences."""
    means = by_seed(rows)
    seeds = sorted(means.seed.unique())
    learners = list(settings.learners)
    lines = [
        '# Meta-learning: one task left out', '',
        f'    {command}', '',
        'Mean regret to the best subset of each image, on the images of a task '
        'that no policy was adapted to; the reward unit is what the best subset '
        f'gains on average. Tasks left out in turn: '
        f'{", ".join(rows.left_out.unique())}; '
        f'seeds {", ".join(map(str, seeds))}; {settings.shots} shots; '
        f'{settings.iterations} outer steps, for joint training as well; means '
        'over the tasks, with 95 % t-intervals over the seeds. Updates are '
        'steps of gradient descent on all shots; each policy takes the one of '
        f'the learning rates {", ".join(map(str, RATES))} that is best on the '
        'tasks it was learnt from.', '',
        f'| policy | {" | ".join(f"{count} updates" for count in UPDATES)} |',
        '|---' * (len(UPDATES) + 1) + '|']
    for method in learners:
        some = means[means.method == method]
        lines.append(f'| {method} | ' + ' | '.join(
            _show(mean_interval(some[some.updates == count].regret))
            for count in UPDATES) + ' |')
    lines += ['', '| fixed choice | regret |', '|---|---|']
    lines += [f'| {method} | '
              f'{_show(mean_interval(means[means.method == method].regret))} |'
              for method in FIXED]
    lines += ['', f'"{SEARCHED}" is the best on the shots of {TRIED} subsets that '
              f'random search tries, "{ENUMERATED}" of all, "{BEST}" the '
              'best on the test images themselves.', '', '## By task', '',
              f'After {FEW} updates, mean over the seeds:', '',
              f'| left out | {" | ".join((*learners, ENUMERATED))} |',
              '|---' * (len(learners) + 2) + '|']
    for task, some in rows.groupby('left_out', sort=False):
        lines.append(f'| {task} | ' + ' | '.join(
            f'{each.regret.mean():.3f}' for each in (
                *(some[(some.method == method) & (some.updates == FEW)]
                  for method in learners),
                some[some.method == ENUMERATED])) + ' |')
    lines += ['', '## Paired differences', '',
              'Below 0: the first has less regret, within each seed.', '',
              '| comparison | difference |', '|---|---|']
    lines += [f'| {one} − {other} | {_show(difference)} |'
              for one, other, difference in differences(means, learners)]
    return '\n'.join(lines) + '\n'


def differences(means: pd.DataFrame, learners: Sequence[str]
                ) -> list[tuple[str, str, Interval]]:
    """Of each learner after few updates: to scratch and joint training after as
    many, to scratch after many, and to the fixed subsets."""
    table = means.assign(method=[
        entry(*pair) for pair in zip(means.method, means.updates, strict=True)])
    found = []
    for method in learners:
        one = entry(method, FEW)
        for other in (entry(SCRATCH, FEW), entry(JOINT, FEW),
                      entry(SCRATCH, MANY), SEARCHED, ENUMERATED):
            difference = paired_difference(table, one, other, 'regret')
            if one != other and difference is not None:
                found.append((one, other, difference))
    return found


def _show(interval: Interval) -> str:
    if pd.isna(interval.half_width):
        return f'{interval.mean:.3f} (one seed)'
    return f'{interval.mean:.3f} ± {interval.half_width:.3f}'
