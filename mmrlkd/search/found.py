"""The files that a search writes: its incumbent, and a config that trains it."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmrlkd.engine.atomic import write_atomically

from .evaluator import apply_recipe
from .history import Trial
from .recipe import Vocabulary

#: Paths in the work dir.
HISTORY = Path('search/history.jsonl')
INCUMBENT = Path('search/incumbent.json')
FOUND = Path('found.py')


@dataclass(frozen=True)
class Spent:
    """The cost of a search, with the training of a shared student.

    Attributes:
        images: number that went through the student.
        seconds: of training and scoring, summed over parallel candidates.
    """
    images: int
    seconds: float


def write_incumbent(path: Path, trial: Trial, candidates: int,
                    spent: Spent) -> None:
    """Write the incumbent as JSON."""
    write_atomically(path, json.dumps(dict(
        levels=trial.recipe.names, recipe=trial.recipe.to_dict(),
        score=trial.outcome.score, cost=trial.cost, candidates=candidates,
        images=spent.images, seconds=spent.seconds), indent=1).encode())


def write_found(path: Path, base: Config, trial: Trial,
                vocabulary: Vocabulary) -> None:
    """Write a config that trains by the incumbent's recipe.

    Args:
        path: of the config.
        base: config of the same pair; its selector is replaced.
        trial: the incumbent.
        vocabulary: of its recipe.
    """
    found = deepcopy(base)
    found.pop('search', None)
    found.model = apply_recipe(base.model.to_dict(), trial.recipe, vocabulary)
    score = trial.outcome.score
    write_atomically(path, (
        f'# Found by a search: {trial.recipe}, {trial.cost:.0%} of the full '
        f"pyramid's cost,\n# score {score:.4f} on the search's split.\n"
        + found.pretty_text).encode())
