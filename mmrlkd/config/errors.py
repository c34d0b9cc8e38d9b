"""Ending a tool with an error's message instead of a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config.utils import ConfigParsingError

#: Environment variable; if it is set, errors are shown with their traceback.
TRACEBACK = 'MMRLKD_TRACEBACK'

#: Errors with a message for the user, at any time of a run.
SENTENCES = (
    ValueError, FileNotFoundError, FloatingPointError)

#: Raised while something is built from a wrong config: mmengine reports an
#: unknown type or argument with KeyError or TypeError, the libraries an unfit
#: argument with AssertionError, a missing optional package with that or an
#: ImportError. ``a.b`` of a section that is not there is an AttributeError, a base
#: of a new-style config that is not there a ConfigParsingError.
CONFIG_ERRORS = (
    *SENTENCES, KeyError, TypeError, AssertionError, ImportError,
    AttributeError, SyntaxError, ConfigParsingError)


@contextmanager
def errors_as_sentences(
    kinds: tuple[type[Exception], ...] = SENTENCES,
    subject: str | Path | None = None,
) -> Iterator[None]:
    """End the process with an error's message instead of a traceback.

    Decorates every tool's ``main``. Code that builds something from a config
    stands in ``with errors_as_sentences(CONFIG_ERRORS):``. With
    ``MMRLKD_TRACEBACK=1`` the error itself is raised.

    Args:
        kinds: the errors that are reported by their message.
        subject: first word of the message, such as a file; by default the
            error's type.

    Raises:
        SystemExit: with the message, which makes the exit status 1.
    """
    try:
        yield
    except kinds as error:
        if os.environ.get(TRACEBACK):
            raise
        # str() of a KeyError is the repr of its message.
        text = (error.args[0] if isinstance(error, KeyError) and error.args
                else str(error)) or repr(error)
        sys.exit(f'{subject or type(error).__name__}: {text}\n'
                 f'({TRACEBACK}=1 shows where this was found.)')
