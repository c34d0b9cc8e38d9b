"""What every search promises, whatever its strategy."""

import json
import os
import signal
import subprocess
import sys
import time
from math import inf, nan

import pytest
import torch

from mmrlkd.registry import STRATEGIES
from mmrlkd.search import History, Outcome, Recipe
from mmrlkd.search.strategies import ControllerSearch, Strategy


def play(strategy, value):
    """Ask and tell until the end; every recipe with its fitness."""
    found = []
    while batch := strategy.ask():
        fitness = [value(recipe) for recipe in batch]
        strategy.tell(batch, fitness)
        found += zip(batch, fitness, strict=True)
    return found


# -- strategies ----------------------------------------------------------------


@pytest.mark.parametrize('value', [
    lambda recipe: float(len(recipe.levels)), lambda recipe: -inf])
def test_a_search_depends_on_its_own_seed_only(bound, config, value):
    torch.manual_seed(1)
    one = play(bound(config), value)
    torch.manual_seed(2)
    assert play(bound(config), value) == one
    if config['type'] != 'mmrlkd.ExhaustiveSearch':
        assert play(bound(config, seed=1), value) != one


def test_the_global_generator_is_left_alone(bound, config):
    before = torch.get_rng_state()
    play(bound(config), lambda recipe: 1.)
    assert torch.get_rng_state().equal(before)


def test_as_many_are_asked_as_announced(bound, config):
    strategy = bound(config)
    total = strategy.total
    assert len(play(strategy, lambda recipe: 1.)) == total == strategy.total
    assert strategy.ask() == []


@pytest.mark.parametrize('budget', [0.5, 1., 2., 3., 7.5])
@pytest.mark.parametrize('config', ['exhaustive', 'random', 'evolution'],
                         indirect=True)
def test_subsets_are_feasible(bound, config, make_space, budget):
    """The controller's need not be: it learns from its failures."""
    space = make_space(budget=budget)
    for recipe, _ in play(bound(config, space=space), lambda recipe: 1.):
        assert recipe.levels
        assert recipe.cost(space) * 7.5 <= budget
        assert recipe == Recipe.subset(recipe.names)


def test_one_level_is_enough(bound, config, make_space):
    for recipe, _ in play(bound(config, space=make_space(1)),
                          lambda recipe: 1.):
        assert set(recipe.names) <= {'P2'}


def test_an_unaffordable_space_is_an_error(bound, config, make_space):
    with pytest.raises(ValueError, match='budget=0.1 does not pay'):
        bound(config, space=make_space(budget=0.1))


# -- accounting ----------------------------------------------------------------


def test_nothing_is_evaluated_twice(search, config, evaluate):
    seen = []
    history = search(
        config, evaluate=lambda recipe: seen.append(recipe) or evaluate(recipe))
    assert len(seen) == len(set(seen))
    first = {}
    for trial in history.trials:
        original = first.setdefault(trial.recipe, trial)
        assert trial.repeated == (original is not trial)
        assert trial.outcome.score == original.outcome.score
        if trial.repeated:
            assert (trial.outcome.images, trial.outcome.seconds) == (0, 0)
    scored = [t for t in first.values() if t.outcome.score is not None]
    assert history.images == 10 * len(scored)


def test_incumbent_is_the_best_of_the_history(search, config):
    history = search(config)
    best = max(history.trials, key=history.objective)
    assert history.objective(history.incumbent) == history.objective(best)
    assert history.objective(best) == (
        best.outcome.score - 0.1 * best.cost)


def test_progress_is_told_of_each_candidate(search, config):
    calls = []
    history = search(config, progress=lambda *call: calls.append(call))
    total = len(history)
    assert [call[:2] for call in calls] == [
        (done, total) for done in range(1, total + 1)]
    assert calls[-1][2] == history.incumbent


# -- failures ------------------------------------------------------------------


@pytest.mark.parametrize('staleness', [0, 1])
def test_failures_never_stop_it(search, config, staleness):

    def fail(recipe):
        raise SystemExit('no data')

    history = search(config, evaluate=fail, staleness=staleness)
    assert history.incumbent is None
    assert history.images == 0
    for trial in history.trials:
        assert trial.outcome.score is None
        assert trial.outcome.error.startswith(
            ('SystemExit: no data', 'The recipe distils nothing.',
             'The recipe costs '))


@pytest.mark.parametrize('number', [nan, inf])
def test_a_score_that_is_no_number_is_a_failure(search, number):
    history = search(
        dict(type='mmrlkd.ExhaustiveSearch'),
        evaluate=lambda recipe: Outcome(number, 10, 1.))
    assert history.incumbent is None
    assert history.images == 150
    assert f'The score is {number}' in history.trials[0].outcome.error


def test_what_cannot_be_built_is_not_tried(search, make_space):
    """The controller may distil nothing, or exceed the budget."""
    config = dict(type='mmrlkd.ControllerSearch', batches=20, batch_size=8)
    tried = []
    space = make_space(budget=2.)
    history = search(
        config, space=space,
        evaluate=lambda recipe: tried.append(recipe) or Outcome(1., 1, 1.))
    assert tried
    assert all(0 < recipe.cost(space) * 7.5 <= 2 for recipe in tried)
    errors = {trial.outcome.error for trial in history.trials}
    assert 'The recipe distils nothing.' in errors
    assert any(error and error.endswith('but budget=2.') for error in errors)


# -- order, workers, staleness --------------------------------------------------


@pytest.mark.parametrize('staleness', [0, 1, 3])
def test_neither_workers_nor_timing_matter(
        search, config, shuffled, told, staleness):
    one = search(config, 'one.jsonl', staleness=staleness)
    for workers, seed in ((2, 0), (30, 1)):
        other = search(config, f'{workers}.jsonl', staleness=staleness,
                       executor=shuffled(workers, seed))
        assert told(other) == told(one)
        assert other.incumbent.candidate == one.incumbent.candidate


def test_staleness_0_is_the_plain_loop(
        search, config, bound, score, space, shuffled, monkeypatch):
    """To the last bit, the weights of the controller included."""

    def fitness(recipe):
        if not 0 < recipe.cost(space) <= 1:
            return -inf
        try:
            return score(recipe) - 0.1 * recipe.cost(space)
        except RuntimeError:
            return -inf

    plain = bound(config, seed=3)
    expected = play(plain, fitness)
    built = []
    bind = type(plain).bind
    monkeypatch.setattr(type(plain), 'bind', lambda self, *args: (
        built.append(self), bind(self, *args)))
    history = search(config, executor=shuffled())
    assert [(trial.recipe, history.objective(trial))
            for trial in history.trials] == expected
    if isinstance(plain, ControllerSearch):
        assert built[0].baseline == plain.baseline
        for one, other in zip(built[0].network.parameters(),
                              plain.network.parameters(), strict=True):
            assert one.equal(other)


@pytest.mark.parametrize(('staleness', 'expected'), [
    (0, 'a0 t0 a1 t1 a2 t2 a3 t3 a4'),
    (1, 'a0 a1 t0 a2 t1 a3 t2 a4 t3'),
    (2, 'a0 a1 a2 t0 a3 t1 a4 t2 t3'),
    (9, 'a0 a1 a2 a3 a4 t0 t1 t2 t3'),
])
def test_order_of_asking_and_telling(search, shuffled, staleness, expected):
    log = []

    @STRATEGIES.register_module()
    class LoggingStrategy(Strategy):
        adaptive = True
        total = 8
        batches = [[Recipe.subset([one]), Recipe.subset([one, 'P5'])]
                   for one in ('P2', 'P3', 'P4')] + [[Recipe(()), Recipe(())]]

        def ask(self):
            log.append(f'a{sum(entry[0] == "a" for entry in log)}')
            number = int(log[-1][1:])
            return self.batches[number] if number < 4 else []

        def tell(self, batch, fitness):
            log.append(f't{self.batches.index(batch)}')

    search(dict(type='LoggingStrategy'), staleness=staleness,
           executor=shuffled(workers=8))
    assert ' '.join(log) == expected


# -- being killed, and resuming -------------------------------------------------


def counted(evaluate, seen, limit=None):
    """``evaluate``, interrupted after ``limit`` candidates."""
    def run(recipe):
        if len(seen) == limit:
            raise KeyboardInterrupt
        seen.append(recipe)
        return evaluate(recipe)

    return run


@pytest.mark.parametrize('torn', [False, True])
@pytest.mark.parametrize('staleness', [0, 1])
def test_resume_from_any_prefix(
        search, config, told, tmp_path, staleness, torn):
    whole = search(config, 'whole.jsonl', staleness=staleness)
    lines = whole.path.read_bytes().splitlines(keepends=True)
    for kept in {1, 2, *range(4, len(lines), 5), len(lines) - 1, len(lines)}:
        path = tmp_path / f'{kept}.jsonl'
        text = b''.join(lines[:kept])
        if torn:
            text += b''.join(lines[kept:kept + 1])[:-1] or b'{"candid'
        path.write_bytes(text)
        resumed = search(config, path.name, staleness=staleness)
        assert told(resumed) == told(whole)
        assert resumed.incumbent.candidate == whole.incumbent.candidate
        assert told(History(path)) == told(whole)


@pytest.mark.parametrize('staleness', [0, 1])
@pytest.mark.parametrize('limit', [0, 1, 4, 7])
def test_resume_after_an_interrupt_in_disorder(
        search, config, shuffled, evaluate, told, staleness, limit):
    whole = search(config, 'whole.jsonl', staleness=staleness)
    before, after = [], []
    with pytest.raises(KeyboardInterrupt):
        search(config, executor=shuffled(workers=5, seed=1),
               staleness=staleness, evaluate=counted(evaluate, before, limit))
    assert len(before) == limit
    resumed = search(config, staleness=staleness,
                     evaluate=counted(evaluate, after))
    assert told(resumed) == told(whole)
    assert not set(before) & set(after)
    assert resumed.images == whole.images


def test_a_finished_search_evaluates_nothing(search, config):
    text = search(config).path.read_bytes()
    calls = []
    history = search(config, evaluate=None,
                     progress=lambda *call: calls.append(call))
    assert history.path.read_bytes() == text
    assert calls == [(len(history), len(history), history.incumbent)]


SLOW_SEARCH = '''
import sys, time
from mmrlkd.search import Outcome, run_search
from mmrlkd.structures import LevelSpace

def evaluate(recipe):
    assert 'ray' not in sys.modules
    time.sleep(0.2)
    return Outcome(recipe.cost(space), 1, 0.2)

space = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5, (2, ) * 4, 8)
run_search(dict(type='mmrlkd.ExhaustiveSearch'), space, evaluate, sys.argv[1])
'''


def test_a_kill_loses_only_what_was_under_way(search, tmp_path):
    path = tmp_path / 'history.jsonl'
    process = subprocess.Popen([sys.executable, '-c', SLOW_SEARCH, path])
    try:
        while not (path.exists() and path.read_bytes().count(b'\n') >= 4):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = len(History(path))
    assert 3 <= kept < 15
    seen = []
    search(dict(type='mmrlkd.ExhaustiveSearch'), efficiency=0., seed=0,
           evaluate=counted(lambda recipe: Outcome(0., 1, 0.), seen))
    assert len(seen) == 15 - kept


# -- errors --------------------------------------------------------------------


@pytest.mark.parametrize(('changed', 'words'), [
    (dict(seed=4), 'seed=4 was 3'),
    (dict(efficiency=0.2), 'efficiency=0.2 was 0.1'),
    (dict(staleness=1), 'staleness=1 was 0'),
    (dict(about=dict(iterations=3)), r'about=\{"iterations": 3\} was \{\}'),
])
def test_other_settings_are_not_resumed(search, changed, words):
    config = dict(type='mmrlkd.EvolutionSearch', population=2, generations=1)
    begun: list[bool] = []
    search(config, begin=lambda: begun.append(True))
    with pytest.raises(ValueError, match=f'other settings .{words}'):
        search(config, begin=lambda: begun.append(True), **changed)
    assert begun == [True]
    with pytest.raises(ValueError, match='other settings .strategy='):
        search({**config, 'population': 3})


def test_another_space_is_not_resumed(search, config, make_space):
    search(config)
    with pytest.raises(ValueError, match='other settings .space='):
        search(config, space=make_space(budget=3.))


def test_staleness_may_change_where_it_has_no_effect(search, told):
    config = dict(type='mmrlkd.RandomSearch', evaluations=3)
    assert told(search(config)) == told(search(config, staleness=2))


def test_a_history_that_asks_otherwise_is_refused(search):
    config = dict(type='mmrlkd.ExhaustiveSearch')
    path = search(config).path
    header, first, *rest = path.read_text().splitlines()
    first = json.dumps({**json.loads(first), 'recipe': Recipe.subset(
        ['P4', 'P5']).to_dict()})
    path.write_text('\n'.join([header, first, *rest, '']))
    with pytest.raises(ValueError, match=(
            '"P4 \\+ P5" as candidate 0, where the search now asks for "P2"')):
        search(config)


@pytest.mark.parametrize(('overrides', 'words'), [
    (dict(staleness=-1), 'staleness=-1; accepted: an integer >= 0'),
    (dict(efficiency=-1.), 'efficiency=-1.0; accepted: a number >= 0'),
    (dict(efficiency=nan), 'efficiency=nan; accepted: a number >= 0'),
    (dict(executor='slurm'), "executor='slurm'; accepted: 'local', 'ray'"),
    (dict(workers=2), 'workers=2; accepted: 1, as it evaluates one'),
    (dict(workers=0), 'workers=0; accepted: an integer >= 1'),
])
def test_impossible_settings_are_errors(search, tmp_path, overrides, words):
    begun: list[bool] = []
    with pytest.raises(ValueError, match=words):
        search(dict(type='mmrlkd.ExhaustiveSearch'),
               begin=lambda: begun.append(True), **overrides)
    assert not begun and not (tmp_path / 'history.jsonl').exists()
