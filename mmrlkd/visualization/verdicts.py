"""What the numbers say, in sentences that claim no more than they show."""

from mmrlkd.evaluation.estimate import Estimate
from mmrlkd.evaluation.results import Results, RunResult

from .style import display_name, stratum_name
from .summary import (
    Read,
    adaptive_methods,
    attribute,
    distill_gflops,
    mean_rates,
    measured,
    minutes,
    quality,
    summarise,
)
from .table import format_estimate

#: How a sentence names the methods that are no proper names.
_SPOKEN = {'student': 'the student alone', 'uniform': 'uniform distillation',
           'kd': 'distilling the logits', 'teacher': 'the teacher'}
ONE_SEED = 'one seed: a difference may be noise'
INFERENCE = (
    'Choosing levels changes what training costs. It does not change the '
    "student's inference: every student here is the same network, and the "
    'teacher and the selector are gone after training.')

#: Rates of two strata that differ by less are called alike.
_ALIKE = 0.05


def verdicts(results: Results) -> list[str]:
    """The report's findings, in order; a sentence or a few each."""
    methods = results.by_method()
    teacher, student, uniform = (
        methods.get(name) for name in ('teacher', 'student', 'uniform'))
    found = []
    if teacher and student:
        found.append(_room(teacher, student))
    if student:
        found += [compare(runs, student) for method, runs in methods.items()
                  if method not in ('teacher', 'student')]
    for runs in adaptive_methods(results).values():
        if uniform:
            found.append(compare(runs, uniform))
            found.append(compare_costs(runs, uniform))
        found.append(_adaptivity(runs))
    students = [runs for method, runs in methods.items()
                if method != 'teacher']
    found += [_updates(runs, students) for runs in students
              if runs[0].student_updates != runs[0].iterations]
    return [*found, INFERENCE]


def compare(runs: list[RunResult], others: list[RunResult]) -> str:
    """Quality of two methods; a difference only where intervals part."""
    mine, theirs = measured(runs, quality), measured(others, quality)
    name, other = map(_spoken, (runs, others))
    gap = round(mine.mean, 1) - round(theirs.mean, 1)
    if round(gap, 1) == 0:
        where = f'the same as {other}'
    else:
        where = f'{_points(abs(gap))} {_above(gap)} {other}'
    text = (f'{_first(name)} reached {format_estimate(mine, 1)} '
            f'{_unit(runs)}, {where} ({format_estimate(theirs, 1)})')
    if mine.half_width is None or theirs.half_width is None:
        return f'{text}; {ONE_SEED}.'
    seeds = _seeds(mine, theirs)
    if mine.overlaps(theirs):
        return (f'{text}. Over {seeds} the 95 % intervals overlap: no '
                'difference is shown.')
    return f'{text}. Over {seeds} the 95 % intervals do not overlap.'


def compare_costs(runs: list[RunResult], others: list[RunResult]) -> str:
    """What two methods that distil paid in training."""
    name = _spoken(runs)

    def both(read: Read, digits: int, unit: str) -> str:
        mine, theirs = (measured(r, read).mean for r in (runs, others))
        return (f'{mine:.{digits}f} against {theirs:.{digits}f} {unit} '
                f'({_relative(mine, theirs)})')

    levels, cost = attribute('levels_per_image'), attribute('distill_cost')
    text = (
        f'An iteration of {name} distilled an image at '
        f'{both(levels, 2, "levels")} and '
        f'{both(cost, 2, "of nominal cost")}, on average over training. With '
        f'what its reward looked at, that was {both(distill_gflops, 3, "GFLOPs")}')
    trunk = summarise(runs, attribute('trunk_gflops'))
    lengths = [r[0].iterations for r in (runs, others)]
    if trunk and others[0].trunk_gflops:
        text += (f". Both also run the teacher's trunk, {trunk.mean:.2f} "
                 f'GFLOPs; with it')
        if lengths[0] != lengths[1]:
            text += f', and over {lengths[0]} iterations against {lengths[1]}'
        totals = [measured(r, _teacher_side).mean for r in (runs, others)]
        text += f", the teacher's side cost {name} {_relative(*totals)}"
    return (f'{text}. Training took {both(minutes, 1, "minutes")}; that is '
            'wall-clock, so what else the machine did counts too.')


def _room(teacher: list[RunResult], student: list[RunResult]) -> str:
    above, below = (measured(r, quality) for r in (teacher, student))
    unit = _unit(teacher)
    gap = above.mean - below.mean
    if gap <= 0:
        return (f'The teacher ({above.mean:.1f} {unit}) is not ahead of the '
                f'student alone ({format_estimate(below, 1)}): there is '
                'nothing to gain from it here.')
    return (f'The teacher ({above.mean:.1f} {unit}) is {_points(gap)} ahead of '
            f'the student alone ({format_estimate(below, 1)}): that is the '
            'room there is to gain.')


def _adaptivity(runs: list[RunResult]) -> str:
    """Whether the trained selector treats hard images differently."""
    name, rates = _first(_spoken(runs)), mean_rates(runs)
    everywhere = rates['all']
    if all(rate in (0, 1) for rate in everywhere.values()):
        levels = ' '.join(level for level, rate in everywhere.items() if rate)
        return (f'{name} gives every validation image the same levels, '
                f'{levels}: it has not learnt to tell images apart, and a '
                'fixed subset would do the same.')
    overall = ', '.join(
        f'{key} for {rate:.0%}' for key, rate in everywhere.items())
    strata = {key: value for key, value in rates.items() if key != 'all'}
    if not strata:
        return (f'{name} tells images apart: over all of them it selects '
                f'{overall}. Their difficulty is not known.')
    spreads = {
        level: sorted((value[level], key) for key, value in strata.items())
        for level in everywhere
    }
    level, ranked = max(
        spreads.items(), key=lambda item: item[1][-1][0] - item[1][0][0])
    (least, where_least), (most, where_most) = ranked[0], ranked[-1]
    if most - least < _ALIKE:
        return (f'{name} gives images of every difficulty nearly the same '
                f'levels: no rate differs by {_ALIKE:.0%} between strata.')
    return (f'{name} tells images apart most at {level}: it selects it for '
            f'{most:.0%} of the images in “{stratum_name(where_most)}” and '
            f'{least:.0%} in “{stratum_name(where_least)}”. Over all images '
            f'it selects {overall}.')


def _updates(runs: list[RunResult], students: list[list[RunResult]]) -> str:
    """What a comparison with such a method is at equal amounts of."""
    run = runs[0]
    text = (f'{_first(_spoken(runs))} updated the student in '
            f'{run.student_updates} of {run.iterations} iterations; in the '
            'others only its policy learnt.')
    updates, iterations = (
        {getattr(some[0], name) for some in students}
        for name in ('student_updates', 'iterations'))
    if len(updates) == 1:
        equal = 'equal numbers of updates, not of iterations'
    elif len(iterations) == 1:
        equal = 'equal numbers of iterations, not of updates'
    else:
        equal = 'equal numbers neither of updates nor of iterations'
    return f'{text} The students here are compared at {equal}.'


def _teacher_side(run: RunResult) -> float:
    """GFLOPs an image of all the run's iterations, trunk included."""
    image = (distill_gflops(run) or 0) + (run.trunk_gflops or 0)
    return image * run.iterations


def _seeds(*estimates: Estimate) -> str:
    counts = sorted({estimate.count for estimate in estimates})
    return ' and '.join(map(str, counts)) + ' seeds'


def _relative(mine: float, theirs: float) -> str:
    if theirs == 0 or f'{mine / theirs:.2f}' == '1.00':
        return 'the same' if mine == theirs else 'about the same'
    change = mine / theirs - 1
    return f'{abs(change):.0%} {"more" if change > 0 else "less"}'


def _unit(runs: list[RunResult]) -> str:
    """What a number of points is of."""
    return runs[0].judged.main.name


def _spoken(runs: list[RunResult]) -> str:
    method = runs[0].method
    return _SPOKEN.get(method, display_name(method))


def _points(gap: float) -> str:
    return f'{gap:.1f} point{"" if f"{gap:.1f}" == "1.0" else "s"}'


def _above(gap: float) -> str:
    return 'above' if gap > 0 else 'below'


def _first(text: str) -> str:
    """With a capital, to begin a sentence."""
    return text[:1].upper() + text[1:]
