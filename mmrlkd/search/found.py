"""What a search leaves behind: the incumbent, and a config to train it."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmrlkd.engine.atomic import write_atomically

from .evaluator import apply_recipe
from .history import Trial
from .recipe import Vocabulary

#: Below the work dir.
HISTORY = Path('search/history.jsonl')
INCUMBENT = Path('search/incumbent.json')
FOUND = Path('found.py')


@dataclass(frozen=True)
class Spent:
    """What a search took, a shared student's training included.

    Attributes:
        images: that went through the student.
        seconds: of training and scoring; of what ran side by side, the sum.
    """
    images: int
    seconds: float


def write_incumbent(path: Path, trial: Trial, candidates: int,
                    spent: Spent) -> None:
    """Write what was found, as JSON."""
    write_atomically(path, json.dumps(dict(
        levels=trial.recipe.names, recipe=trial.recipe.to_dict(),
        score=trial.outcome.score, cost=trial.cost, candidates=candidates,
        images=spent.images, seconds=spent.seconds), indent=1).encode())


def write_found(path: Path, base: Config, trial: Trial,
                vocabulary: Vocabulary) -> None:
    """Write a config that trains with what was found.

    Args:
        path: of the config.
        base: trains the same pair; its selector is replaced.
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
