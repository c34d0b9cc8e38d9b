"""The history: exact on disk, and nothing of it lost."""

import pytest

from mmrlkd.search import History, LevelRecipe, Outcome, Recipe, Trial

HEADER = dict(efficiency=0.5, seed=0)


def trial(candidate, score, cost=0., **fields):
    return Trial(candidate, Recipe.subset(['P5']),
                 Outcome(score, images=3, seconds=0.25), cost, **fields)


@pytest.fixture
def history(tmp_path):
    return History.open(tmp_path / 'new' / 'history.jsonl', HEADER)


def test_trials_come_back_equal(history):
    trials = [
        Trial(1, Recipe((LevelRecipe('P3', ('P2', 'P4'), 'cwd', 'conv'), )),
              Outcome(0.1 + 0.2, 12, 1 / 3), 0.7),
        Trial(0, Recipe(()), Outcome(None, 0, 0., 'nothing – "at all"\n'), 0.),
        Trial(2, Recipe(()), Outcome(None, 0, 0., 'again'), 0., repeated=True),
    ]
    for each in trials:
        history.add(each)
    read = History(history.path)
    assert read.header == HEADER
    assert read.trials == history.trials == [trials[1], trials[0], trials[2]]
    assert (read.images, read.seconds) == (12, 1 / 3)
    assert read.get(1) == trials[0]
    assert read.get(3) is None


def test_a_line_is_on_disk_when_it_counts(history):
    history.add(trial(0, 1.))
    assert len(History(history.path)) == 1


@pytest.mark.parametrize('order', [1, -1])
def test_incumbent_has_the_best_objective_in_any_order(history, order):
    """Half a point for the full cost; then the cheaper, then the first."""
    assert history.incumbent is None
    trials = [
        trial(0, None), trial(1, .5, cost=.1), trial(2, .9, cost=1.),
        trial(3, .75, cost=.5), trial(4, .625, cost=.25),
        trial(5, .625, cost=.25)]
    for each in trials[::order]:
        history.add(each)
    assert history.incumbent.candidate == 4
    assert History(history.path).incumbent == history.incumbent
    assert history.objective(trials[2]) == .9 - .5
    assert history.objective(trials[0]) == -float('inf')


def test_all_failures_have_no_incumbent(history):
    history.add(trial(0, None))
    assert history.incumbent is None


def test_a_torn_line_is_dropped_and_written_over(history):
    history.add(trial(0, 1.))
    text = history.path.read_bytes()
    for end in range(1, 40, 13):
        history.path.write_bytes(text + text.splitlines()[1][:end])
        assert len(History(history.path)) == 1
        reopened = History.open(history.path, HEADER)
        assert history.path.read_bytes() == text
        reopened.add(trial(1, 2.))
        assert [t.candidate for t in History(history.path).trials] == [0, 1]


def test_reading_changes_nothing(history):
    history.path.write_bytes(history.path.read_bytes() + b'{"candi')
    text = history.path.read_bytes()
    History(history.path)
    assert history.path.read_bytes() == text


@pytest.mark.parametrize('text', ['', '\n', '[]\n', '{"seed": 0}\n', '3\n'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / 'notes.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match='line 1, is not a header'):
        History.open(path, HEADER)
    assert path.read_text() == text


def test_a_broken_line_is_named(history):
    history.add(trial(0, 1.))
    text = history.path.read_text()
    history.path.write_text(text + '{"candidate": 1}\n' + text.splitlines()[1])
    with pytest.raises(ValueError, match='line 3, is not a candidate'):
        History(history.path)
