"""The controller: what it emits, with which probability, and that it learns."""

import itertools
import math
from collections import Counter

import pytest
import torch

from mmrlkd.registry import STRATEGIES
from mmrlkd.search import LevelRecipe, Recipe
from mmrlkd.search.strategies import ControllerNetwork

LOSSES = dict(mse=dict(type='mmrlkd.MSELoss'), cwd=dict(type='mmrlkd.CWDLoss'))
CONNECTORS = dict(a=dict(type='mmrlkd.ConvConnector'),
                  b=dict(type='mmrlkd.ConvConnector', kernel_size=1),
                  c=dict(type='mmrlkd.ConvConnector', kernel_size=3))


def controller(**kwargs):
    return dict(type='mmrlkd.ControllerSearch', **kwargs)


@pytest.fixture
def make_network():

    def make(levels=3, losses=2, connectors=3, hidden=6, spread=1.):
        generator = torch.Generator().manual_seed(1)
        network = ControllerNetwork(
            levels, losses, connectors, hidden, generator).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter *= spread / 0.08
        return network

    return make


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# -- probabilities ---------------------------------------------------------------


def test_anchors_are_drawn_as_in_the_paper(make_network):
    network = make_network()
    output = torch.randn(4, 6, dtype=torch.float64)
    found = network.anchor_scores(output).sigmoid()
    for i, j in itertools.product(range(4), range(3)):
        inner = torch.tanh(network.previous.weight @ network.anchors[j] +
                           network.current.weight @ output[i])
        expected = 1 / (1 + torch.exp(-(network.v * inner).sum()))
        torch.testing.assert_close(found[i, j], expected)


def every_sequence(levels):
    """All that can be emitted over ``levels`` levels without other tokens."""
    sets = list(itertools.product([False, True], repeat=levels))
    off = (0, (False, ) * levels)
    choices = [off, *((1, chosen) for chosen in sets)]
    sequences = list(itertools.product(choices, repeat=levels))
    return dict(
        on=torch.tensor([[on for on, _ in each] for each in sequences]),
        teachers=torch.tensor([[drawn for _, drawn in each]
                               for each in sequences]))


def test_probabilities_sum_to_1_and_are_those_of_sampling(
        make_network, generator):
    network = make_network(levels=2, losses=0, connectors=0)
    tokens = every_sequence(2)
    probs = network.evaluate(tokens)[0].exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-12)
    # The case is not a trivial one.
    assert probs.max() > 4 * probs.min()

    def keys(tokens):
        return [(tuple(on), *(tuple(drawn) if switch else None
                              for switch, drawn in zip(on, teachers)))
                for on, teachers in zip(
                    tokens['on'].tolist(), tokens['teachers'].tolist())]

    count = 40_000
    drawn = Counter(keys(network.sample(count, generator)))
    assert len(probs) == 25
    for key, prob in zip(keys(tokens), probs.tolist(), strict=True):
        assert drawn[key] / count == pytest.approx(
            prob, abs=5 * math.sqrt(prob * (1 - prob) / count))


def test_entropy_is_that_of_the_distribution(make_network, generator):
    """Its mean over what is drawn is the exact entropy of the sequences, and
    a sequence's is not −log of its own probability."""
    network = make_network(levels=2, losses=0, connectors=0)
    log_prob, entropy = network.evaluate(every_sequence(2))
    exact = -(log_prob.exp() * log_prob).sum()
    torch.testing.assert_close((log_prob.exp() * entropy).sum(), exact)
    assert (entropy + log_prob).abs().min() > 1e-3


def test_a_fresh_controller_is_about_indifferent(bound):
    strategy = bound(controller(losses=LOSSES, connectors=CONNECTORS))
    tokens = strategy.network.sample(64, torch.Generator().manual_seed(0))
    _, entropy = strategy.network.evaluate(tokens)
    on = tokens['on'].sum(-1)
    expected = 4 * math.log(2) + on * (
        math.log(2) + math.log(3) + 4 * math.log(2))
    torch.testing.assert_close(entropy, expected, rtol=0.01, atol=0.)


def test_what_follows_an_off_does_not_count(make_network, generator):
    network = make_network()
    tokens = network.sample(50, generator)
    off = tokens['on'] == 0
    assert 0 < off.sum() < 150
    other = {kind: token.clone() for kind, token in tokens.items()}
    other['loss'][off] = 1 - other['loss'][off]
    other['connector'][off] = (other['connector'][off] + 1) % 3
    other['teachers'][off] = ~other['teachers'][off]
    for one, two in zip(network.evaluate(tokens), network.evaluate(other),
                        strict=True):
        assert one.equal(two)
    # What follows an "on" does.
    other['loss'][~off] = 1 - other['loss'][~off]
    assert not network.evaluate(tokens)[0].equal(network.evaluate(other)[0])


def test_later_tokens_depend_on_earlier_ones(make_network):
    """log p of "off" at the last level, after two different first levels."""
    network = make_network(levels=2)
    tokens = dict(
        on=torch.tensor([[1, 0], [1, 0], [0, 0]]),
        loss=torch.tensor([[0, 0], [1, 0], [0, 0]]),
        connector=torch.zeros(3, 2, dtype=torch.long),
        teachers=torch.tensor([[[True, False]] * 2] * 3))
    shorter = {kind: token[:, :1] for kind, token in tokens.items()}
    last = network.evaluate(tokens)[0]
    network.places = torch.nn.Parameter(network.places[:1])
    last = last - network.evaluate(shorter)[0]
    assert len({round(value, 9) for value in last.tolist()}) == 3


# -- recipes ---------------------------------------------------------------------


def test_recipes_say_what_was_emitted(bound, make_space):
    strategy = bound(controller(losses=LOSSES, connectors=CONNECTORS),
                     space=make_space(2))
    tokens = dict(
        on=torch.tensor([[1, 1], [0, 1], [0, 0]]),
        loss=torch.tensor([[0, 1], [1, 0], [0, 0]]),
        connector=torch.tensor([[2, 0], [1, 1], [0, 0]]),
        teachers=torch.tensor([
            [[True, True], [True, False]],
            [[True, True], [False, False]],
            [[True, True], [True, True]]]))
    assert strategy.recipes(tokens) == [
        Recipe((LevelRecipe('P2', ('P2', 'P3'), 'mse', 'c'),
                LevelRecipe('P3', ('P2', ), 'cwd', 'a'))),
        # No anchor was drawn: the level of the same name.
        Recipe((LevelRecipe('P3', ('P3', ), 'mse', 'b'), )),
        Recipe(()),
    ]


def test_without_a_vocabulary_there_is_no_such_token(bound):
    strategy = bound(controller(losses=LOSSES))
    assert set(strategy.network.heads) == {'on', 'loss'}
    for recipe in strategy.ask():
        for level in recipe.levels:
            assert level.loss in LOSSES
            assert level.connector is None


# -- the update -------------------------------------------------------------------


def test_gradient_by_finite_differences(bound, make_network, generator):
    strategy = bound(controller(entropy_coef=0.3))
    network = make_network(spread=0.5)
    tokens = network.sample(5, generator)
    advantage = torch.tensor([1., -.5, .25, 0., 2.], dtype=torch.float64)

    def loss():
        return strategy.loss(network, tokens, advantage)

    log_prob, entropy = network.evaluate(tokens)
    torch.testing.assert_close(loss(), -sum(
        a * p + 0.3 * h for a, p, h in zip(advantage, log_prob, entropy)) / 5)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            flat = parameter.view(-1)
            for i in range(0, len(flat), max(1, len(flat) // 5)):
                value, step = flat[i].item(), 1e-6
                flat[i] = value + step
                above = loss()
                flat[i] = value - step
                below = loss()
                flat[i] = value
                assert gradient.view(-1)[i].item() == pytest.approx(
                    (above - below).item() / (2 * step), rel=1e-5, abs=1e-8)


def test_mean_gradient_of_the_log_probability_is_0(make_network):
    network = make_network(levels=2, losses=0, connectors=0)
    log_prob, _ = network.evaluate(every_sequence(2))
    gradients = torch.autograd.grad(
        (log_prob.exp().detach() * log_prob).sum(),
        list(network.parameters()))
    for gradient in gradients:
        assert gradient.abs().max() < 1e-12


@pytest.fixture
def advantages(bound, monkeypatch):
    """Let a controller hear rewards; returns the advantages it learnt from."""

    def run(*rewards, **kwargs):
        strategy = bound(controller(batch_size=2, hidden=4, **kwargs))
        seen = []
        loss = strategy.loss
        monkeypatch.setattr(strategy, 'loss', lambda network, tokens, value: (
            seen.append(value.tolist()), loss(network, tokens, value))[1])
        for pair in rewards:
            strategy.tell(strategy.ask(), list(pair))
        return seen, strategy

    return run


def test_baseline_moves_after_the_advantage_is_taken(advantages):
    seen, strategy = advantages(
        (.2, .4), (.5, .9), (0., 0.), baseline_decay=0.75)
    assert seen[0] == pytest.approx([-.1, .1])  # its own mean: .3
    assert seen[1] == pytest.approx([.2, .6])  # still .3
    # .75 · .3 + .25 · .7 = .4
    assert seen[2] == pytest.approx([-.4, -.4])
    assert strategy.baseline == pytest.approx(.3)


def test_failures_count_as_their_reward(advantages):
    seen, _ = advantages((-math.inf, .5), failure=-1.5)
    assert seen[0] == pytest.approx([-1., 1.])
    seen, strategy = advantages((-math.inf, -math.inf), (1., 1.))
    assert seen == [[0., 0.], [1., 1.]]
    assert all(p.isfinite().all() for p in strategy.network.parameters())


def test_a_rewarded_recipe_becomes_likelier(bound):
    strategy = bound(controller(losses=LOSSES, entropy_coef=0.))
    batch = strategy.ask()
    network, tokens = strategy._open[0]
    strategy.tell(batch, [1.] + [0.] * 7)
    assert strategy.network.evaluate(tokens)[0][0] > network.evaluate(
        tokens)[0][0]


def test_late_rewards_teach_the_weights_that_drew(bound, monkeypatch):
    """The second batch was drawn before the first update; its gradient is
    that of the weights of then."""
    strategy = bound(controller(hidden=4))
    first, second = strategy.ask(), strategy.ask()
    drew = [network for network, _ in strategy._open]
    used = []
    loss = strategy.loss
    monkeypatch.setattr(strategy, 'loss', lambda network, *rest: (
        used.append(network), loss(network, *rest))[1])
    strategy.tell(first, [1., 0.] * 4)
    moved = strategy.network.v.detach().clone()
    strategy.tell(second, [0., 1.] * 4)
    assert used == drew
    assert drew[0].v.equal(drew[1].v)
    assert not moved.equal(drew[1].v)
    assert not strategy.network.v.equal(moved)


# -- learning ---------------------------------------------------------------------

#: Loss, connector and teacher levels that P3 and P5 should have; P4 should be
#: off. 1 of about 4 000 random recipes is like that.
TARGET = dict(P3=('cwd', 'a', {'P3', 'P4'}), P5=('mse', 'b', {'P5'}))


def separable(recipe):
    """Every right token is worth the same, whatever the others are."""
    on = {level.level: level for level in recipe.levels}
    worth = 0.2 * ('P4' not in on)
    for name in TARGET.keys() & on.keys():
        loss, connector, teachers = TARGET[name]
        worth += 0.2 + 0.1 * (on[name].loss == loss) + 0.1 * (
            on[name].connector == connector) + 0.1 * sum(
                (other in on[name].teachers) == (other in teachers)
                for other in ('P3', 'P4', 'P5'))
    return worth


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_finds_the_optimum(bound, seed):
    """Six seeds first pass after 108 batches or earlier."""
    from mmrlkd.structures import LevelSpace
    space = LevelSpace(('P3', 'P4', 'P5'), (2., 1., .5), 99., (2, ) * 3, 8)
    strategy = bound(controller(
        losses=LOSSES, connectors={k: CONNECTORS[k] for k in 'ab'},
        batches=216, lr=0.02, entropy_coef=0.04), seed=seed, space=space)
    best, means = 0., []
    while best < 1.6 - 1e-9 and (batch := strategy.ask()):
        fitness = [separable(recipe) if recipe.levels else -math.inf
                   for recipe in batch]
        strategy.tell(batch, fitness)
        best = max(best, *fitness)
        means.append(sum(map(separable, batch)) / len(batch))
    assert best == pytest.approx(1.6)
    assert sum(means[-10:]) > sum(means[:10]) + 3.


# -- errors -----------------------------------------------------------------------


@pytest.mark.parametrize(('kwargs', 'words'), [
    (dict(batches=0), 'batches=0; accepted: an integer >= 1'),
    (dict(batch_size=0), 'batch_size=0; accepted: an integer >= 1'),
    (dict(hidden=0), 'hidden=0; accepted: an integer >= 1'),
    (dict(lr=0.), 'lr=0.0; accepted: a number > 0'),
    (dict(baseline_decay=1.),
     r'baseline_decay=1.0; accepted: a number in \[0, 1\)'),
    (dict(entropy_coef=-1.), 'entropy_coef=-1.0; accepted: a number >= 0'),
    (dict(failure=-math.inf), 'failure=-inf; accepted: a finite number'),
    (dict(losses=dict(mse='MSELoss')),
     r"losses\['mse'\]='MSELoss'; accepted: a config with a type"),
    (dict(connectors=dict(a=dict())), r"connectors\['a'\]=\{\}; accepted: "),
])
def test_impossible_settings_are_errors(kwargs, words):
    with pytest.raises(ValueError, match=f'ControllerSearch: {words}'):
        STRATEGIES.build(controller(**kwargs))
