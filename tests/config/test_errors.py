"""How a tool ends on an error."""

import pytest

from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences


@errors_as_sentences(CONFIG_ERRORS)
def tool(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(('error', 'sentence'), [
    (ValueError('levels is empty'), 'ValueError: levels is empty'),
    (KeyError('X is not in the registry'), 'KeyError: X is not in the registry'),
    (AssertionError(), 'AssertionError: AssertionError()'),
])
def test_it_ends_with_the_sentence(error, sentence, monkeypatch):
    monkeypatch.delenv('MMRLKD_TRACEBACK', raising=False)
    with pytest.raises(SystemExit) as ended:
        tool(error)
    assert ended.value.code == (
        f'{sentence}\n(MMRLKD_TRACEBACK=1 shows where this was found.)')


def test_a_traceback_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setenv('MMRLKD_TRACEBACK', '1')
    with pytest.raises(ValueError, match='levels is empty'):
        tool(ValueError('levels is empty'))


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        tool(ZeroDivisionError())
