"""A made-up problem to search on, and an executor that finishes in disorder."""

import random

import pytest

from mmrlkd.registry import EXECUTORS, STRATEGIES
from mmrlkd.search import Outcome, run_search
from mmrlkd.search.executors import Executor, attempt
from mmrlkd.structures import LevelSpace

VOCABULARY = dict(
    losses=dict(mse=dict(type='mmrlkd.MSELoss'),
                cwd=dict(type='mmrlkd.CWDLoss')),
    connectors=dict(conv=dict(type='mmrlkd.ConvConnector')))

#: Each strategy, small.
CONFIGS = dict(
    exhaustive=dict(type='mmrlkd.ExhaustiveSearch'),
    random=dict(type='mmrlkd.RandomSearch', evaluations=9),
    evolution=dict(
        type='mmrlkd.EvolutionSearch', population=6, generations=4,
        tournament=2),
    controller=dict(
        type='mmrlkd.ControllerSearch', batches=4, batch_size=5, hidden=8,
        **VOCABULARY))


@pytest.fixture(params=CONFIGS)
def config(request):
    """Config of each strategy."""
    return CONFIGS[request.param]


@pytest.fixture
def make_space():

    def make(levels=4, budget=7.5):
        names = ('P2', 'P3', 'P4', 'P5')[:levels]
        costs = (4., 2., 1., .5)[:levels]
        return LevelSpace(names, costs, budget, (2, ) * levels, 8)

    return make


@pytest.fixture
def space(make_space):
    return make_space()


@pytest.fixture
def bound(space):
    """A strategy that knows its levels."""

    def build(config, seed=0, space=space):
        strategy = STRATEGIES.build(dict(config))
        strategy.bind(space, seed)
        return strategy

    return build


@pytest.fixture
def score():
    """Deterministic, with ties and with recipes that can't be built.

    Defined in here, so that Ray sends it by value.
    """

    def value(recipe):
        if recipe.names == ('P3', 'P4'):
            raise RuntimeError('P3 and P4 do not go together')
        worth = dict(P2=.2, P3=.1, P4=.3, P5=.2)
        return sum(
            worth[level.level] / len(level.teachers) +
            (.05 if level.loss == 'cwd' else 0.) for level in recipe.levels)

    return value


@pytest.fixture
def evaluate(score):
    return lambda recipe: Outcome(score(recipe), images=10, seconds=0.5)


@pytest.fixture
def search(space, evaluate, tmp_path):
    """Run a search; arguments override its own."""

    def run(config, name='history.jsonl', **overrides):
        return run_search(config, **{
            'space': space, 'evaluate': evaluate, 'history': tmp_path / name,
            'efficiency': 0.1, 'seed': 3, **overrides})

    return run


@pytest.fixture
def shuffled():
    """Config of an executor that finishes any of those under way."""

    @EXECUTORS.register_module()
    class ShuffledExecutor(Executor):

        def __init__(self, workers=1, seed=0):
            super().__init__(workers)
            self.rng = random.Random(seed)
            self.queue = []

        def submit(self, candidate, recipe):
            self.queue.append((candidate, recipe))

        def collect(self):
            under_way = min(self.workers, len(self.queue))
            candidate, recipe = self.queue.pop(self.rng.randrange(under_way))
            return [(candidate, attempt(self.evaluate, recipe))]

        def close(self):
            self.queue.clear()

    return lambda workers=4, seed=0: dict(
        type='ShuffledExecutor', workers=workers, seed=seed)


@pytest.fixture
def told():
    """What a search found out, without its times."""

    def outline(history):
        return [
            (trial.candidate, trial.recipe, trial.outcome.score,
             trial.outcome.images, trial.outcome.error, trial.cost,
             trial.repeated) for trial in history.trials]

    return outline
