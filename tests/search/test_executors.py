"""Where candidates are evaluated makes no difference, and nothing is lost."""

import importlib.util
import io
import os
from contextlib import redirect_stderr, redirect_stdout

import pytest

from mmrlkd.registry import EXECUTORS
from mmrlkd.search import Outcome, Recipe
from mmrlkd.search.executors import attempt

LOCAL = dict(type='mmrlkd.InProcessExecutor')


def ray_executor(**kwargs):
    return dict(type='mmrlkd.RayExecutor', **kwargs)


@pytest.fixture(scope='module')
def started():
    """An executor that has started Ray, and what could be heard of it."""
    pytest.importorskip('ray')
    import ray
    assert not ray.is_initialized()
    for name in ('RAY_USAGE_STATS_ENABLED',
                 'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO'):
        os.environ.pop(name, None)
    said = io.StringIO()
    executor = EXECUTORS.build(ray_executor(workers=2))
    executor.bind(lambda recipe: Outcome(
        score=float(os.environ['RAY_USAGE_STATS_ENABLED']),
        images=os.getpid(), seconds=0.,
        error=os.environ.get('CUDA_VISIBLE_DEVICES')))
    with redirect_stdout(said), redirect_stderr(said):
        executor.submit(7, Recipe(()))
        (candidate, outcome), = executor.collect()
    assert candidate == 7
    yield outcome, said.getvalue()
    executor.close()
    assert not ray.is_initialized()


@pytest.fixture
def ray(started):
    """Running; executors use it and leave it so."""
    import ray
    yield ray
    assert ray.is_initialized()


def finish(executor, evaluate, recipes):
    """Outcomes of all, by number."""
    executor.bind(evaluate)
    for candidate, recipe in enumerate(recipes):
        executor.submit(candidate, recipe)
    outcomes = {}
    while len(outcomes) < len(recipes):
        outcomes.update(executor.collect())
    executor.close()
    return outcomes


# -- in this process ---------------------------------------------------------------


def test_exceptions_are_outcomes():

    def evaluate(recipe):
        raise KeyError('neck')

    outcome = attempt(evaluate, Recipe(()))
    assert (outcome.score, outcome.images) == (None, 0)
    assert outcome.error == "KeyError: 'neck'"
    assert outcome.seconds >= 0


def test_an_interrupt_is_none():

    def evaluate(recipe):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(evaluate, Recipe(()))


def test_in_process_keeps_the_order():
    executor = EXECUTORS.build(LOCAL)
    outcomes = finish(executor, lambda recipe: Outcome(
        float(len(recipe.levels)), 1, 0.), [
            Recipe.subset(names) for names in ('', ['P2'], ['P3', 'P4'])])
    assert list(outcomes) == [0, 1, 2]
    assert [outcome.score for outcome in outcomes.values()] == [0., 1., 2.]


# -- Ray -----------------------------------------------------------------------------


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=(
            r"executor='ray' needs Ray.*pip install mmrlkd\[search\]")):
        EXECUTORS.build(ray_executor())


@pytest.mark.parametrize(('key', 'value', 'accepted'), [
    ('workers', 0, 'an integer >= 1'), ('retries', -1, 'an integer >= 0'),
    ('cpus', 0., 'a number > 0'), ('gpus', -1., 'a number >= 0')])
def test_impossible_settings_are_errors(key, value, accepted):
    pytest.importorskip('ray')
    with pytest.raises(ValueError, match=(
            f'RayExecutor: {key}={value}; accepted: {accepted}')):
        EXECUTORS.build(ray_executor(**{key: value}))


def test_it_starts_ray_quietly(started):
    """That Ray is stopped with it is what the fixture looks at."""
    outcome, said = started
    assert outcome.score == 0.  # sends nothing home
    assert outcome.images != os.getpid()
    assert not outcome.error  # sees no GPU
    assert said == ''


@pytest.mark.parametrize('staleness', [0, 1])
def test_ray_finds_what_one_process_finds(
        ray, search, config, told, staleness):
    expected = told(search(config, 'local.jsonl', staleness=staleness))
    for workers in (1, 2):
        history = search(config, f'{workers}.jsonl', executor='ray',
                         workers=workers, staleness=staleness)
        assert told(history) == expected


def test_at_most_as_many_at_a_time_as_workers(ray, tmp_path):

    def evaluate(recipe):
        import time
        mark = tmp_path / f'{recipe}.running'
        mark.touch()
        time.sleep(0.05)
        count = len(list(tmp_path.glob('*.running')))
        mark.unlink()
        return Outcome(float(count), 1, 0.)

    recipes = [Recipe.subset(names) for names in (
        ['P2'], ['P3'], ['P4'], ['P5'], ['P2', 'P3'], ['P2', 'P4'])]
    for workers in (1, 2):
        outcomes = finish(
            EXECUTORS.build(ray_executor(workers=workers, cpus=0.5)),
            evaluate, recipes)
        assert max(o.score for o in outcomes.values()) == workers


def test_a_dead_worker_loses_no_candidate(ray, search, tmp_path):
    """P2's process is killed once, P3's always exits."""
    log = tmp_path / 'log'

    def evaluate(recipe):
        import os
        import signal
        with log.open('a') as file:
            file.write(f'{recipe}\n')
        times = log.read_text().splitlines().count(str(recipe))
        if recipe.names == ('P2', ) and times == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if recipe.names == ('P3', ):
            os._exit(1)
        return Outcome(1., 10, 0.)

    history = search(dict(type='mmrlkd.ExhaustiveSearch'), evaluate=evaluate,
                     executor=ray_executor(workers=2, retries=1))
    failures = [trial for trial in history.trials
                if trial.outcome.score is None]
    assert [trial.recipe.names for trial in failures] == [('P3', )]
    assert ('died 2 times, the last time with WorkerCrashedError; '
            'RayExecutor(retries=1) gives up') in failures[0].outcome.error
    assert failures[0].outcome.seconds > 0
    tried = log.read_text().splitlines()
    assert (tried.count('P2'), tried.count('P3')) == (2, 2)
    assert len(tried) == 15 + 1 + 1


def test_exceptions_in_ray_are_outcomes_and_not_repeated(ray, tmp_path):

    def evaluate(recipe):
        (tmp_path / 'once').touch(exist_ok=False)
        raise SystemExit('no data')

    outcomes = finish(EXECUTORS.build(ray_executor()), evaluate, [Recipe(())])
    assert outcomes[0].error == 'SystemExit: no data'


def test_what_cannot_be_sent_is_a_failure(ray):

    class Evaluate:
        """Can be pickled, but not read again."""

        def __reduce__(self):
            return eval, ('1 / 0', )

    outcomes = finish(
        EXECUTORS.build(ray_executor()), Evaluate(), [Recipe(())])
    assert outcomes[0].score is None
    assert outcomes[0].error.startswith(
        'The candidate could not be handed to a process of Ray: ')
    assert 'ZeroDivisionError' in outcomes[0].error
    assert '\n' not in outcomes[0].error


@pytest.mark.parametrize(('key', 'value'), [('cpus', 8.), ('gpus', 99.)])
def test_more_than_there_is_is_an_error(ray, search, key, value):
    """Ray would wait for it forever."""
    with pytest.raises(ValueError, match=f'RayExecutor: {key}={value} for'):
        search(dict(type='mmrlkd.ExhaustiveSearch'),
               executor=ray_executor(**{key: value}))
