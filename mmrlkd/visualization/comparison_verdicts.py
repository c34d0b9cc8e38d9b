"""Who beats the best fixed subset, and chance: only where intervals part."""

from collections.abc import Callable

from mmrlkd.experiments.comparison import ComparedRun, Comparison, by_method

from .style import display_name
from .summary import attribute, measured, quality
from .verdicts import ONE_SEED, compare

#: Costs that differ by less, relative to one of them, are called the same.
SAME_COST = 0.1
_cost = attribute('distill_cost')

Runs = list[ComparedRun]


def comparison_verdicts(comparison: Comparison) -> list[str]:
    """What the numbers say, in order."""
    methods = by_method(run for run in comparison.members
                        if run.method != 'teacher')
    found = []
    best = comparison.best_fixed
    if best:
        others = [runs for runs in methods.values() if not runs[0].subset]
        found.append(_hindsight(comparison, best))
        found += [compare([*runs], [*best]) for runs in others
                  if runs[0].family != 'none']
        found += _standing(
            others, lambda _: best, 'the best fixed subset')
    found += _chance(methods)
    if any(len(runs) == 1 for runs in methods.values()):
        found.append(f'Where a method has {ONE_SEED}.')
    if comparison.missing:
        found.append('Begun and not finished, so not counted: '
                     f'{"; ".join(comparison.missing)}.')
    return found


def beats(runs: Runs, others: Runs) -> bool:
    """Whether the mean quality is higher and the intervals do not overlap."""
    mine, theirs = measured([*runs], quality), measured([*others], quality)
    return mine.mean > theirs.mean and not mine.overlaps(theirs)


def _hindsight(comparison: Comparison, best: Runs) -> str:
    count = len({runs[0].subset for runs in comparison.fixed.values()})
    reached = (f'{measured([*best], quality).mean:.1f} '
               f'{best[0].judged.main.name}')
    if count == 1:
        return (f'Of the {comparison.possible} fixed subsets of the levels '
                f'only {_name(best)} was trained, with {reached}: it '
                'stands for the best of them here.')
    among = (f'the {count} fixed subsets of the levels' if comparison.exhaustive
             else f'the {count} fixed subsets that were trained, of '
             f'{comparison.possible} that there are')
    return (f'Of {among}, {_name(best)} is the best, with '
            f'{reached}. It was chosen with '
            'hindsight on the test split, which favours it: nobody could have '
            'known it without training them all.')


def _chance(methods: dict[str, Runs]) -> list[str]:
    """Against random levels, where those cost the same."""
    chance = [runs for runs in methods.values() if runs[0].family == 'random']
    if not chance:
        return ['Random levels were not trained: nothing here says what '
                'choosing is worth beyond its cost.']

    def nearest(runs: Runs) -> Runs:
        return min(chance, key=lambda some: abs(_spends(some) - _spends(runs)))

    alike: list[Runs] = []
    apart: list[Runs] = []
    for runs in methods.values():
        if not runs[0].distils or runs[0].family == 'random':
            continue
        gap = abs(_spends(nearest(runs)) - _spends(runs))
        (alike if gap <= SAME_COST * _spends(runs) else apart).append(runs)
    found = [
        f'At a cost of {_spends(runs):.2f} against '
        f'{_spends(nearest(runs)):.2f}: '
        + compare([*runs], [*nearest(runs)]) for runs in alike]
    found += _standing(alike, nearest, 'random levels at the same cost')
    if apart:
        found.append(
            'Not compared with random levels, as none cost the same: '
            + ', '.join(
                f'{_name(runs)} ({_spends(runs):.2f} against '
                f'{_spends(nearest(runs)):.2f})' for runs in apart) + '.')
    return found


def _standing(contenders: list[Runs], rival: Callable[[Runs], Runs],
              name: str) -> list[str]:
    """One sentence for each way it can go."""
    won: list[str] = []
    lost: list[str] = []
    level: list[str] = []
    for runs in contenders:
        other = rival(runs)
        (won if beats(runs, other) else lost if beats(other, runs)
         else level).append(_name(runs))
    parted = 'with intervals that do not overlap'
    return [
        f'{words}: {", ".join(names) or "none"}.' for words, names in (
            (f'Better than {name}, {parted}', won),
            (f'Worse than {name}, {parted}', lost),
            (f'No difference from {name} is shown', level))
    ] if contenders else []


def _spends(runs: Runs) -> float:
    return measured([*runs], _cost).mean


def _name(runs: Runs) -> str:
    return display_name(runs[0].method)
