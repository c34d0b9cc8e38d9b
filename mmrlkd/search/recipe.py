"""The candidates of a search, and the outcome of evaluating them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmrlkd.structures import LevelSpace


@dataclass(frozen=True)
class LevelRecipe:
    """How one level of the student is distilled.

    Attributes:
        level: the student's level.
        teachers: the teacher's levels it learns from, at least one.
        loss: name in the search's table of losses; None for the distiller's
            own.
        connector: likewise, in the table of connectors.
    """
    level: str
    teachers: tuple[str, ...]
    loss: str | None = None
    connector: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A candidate: the levels that are distilled, finest first. The empty recipe
    may be proposed, but cannot be trained."""
    levels: tuple[LevelRecipe, ...]

    @classmethod
    def subset(cls, names: Iterable[str]) -> 'Recipe':
        """Each of these levels learns from the teacher's level of its name."""
        return cls(tuple(LevelRecipe(name, (name, )) for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        """The levels that are distilled."""
        return tuple(level.level for level in self.levels)

    def cost(self, space: LevelSpace) -> float:
        """Cost per image, as a share of the full pyramid's. A level counts once
        for each of the teacher's levels that it learns from."""
        price = dict(zip(space.names, space.costs, strict=True))
        return sum(
            price[level.level] * len(level.teachers)
            for level in self.levels) / sum(space.costs)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {level.level: dict(
            teachers=list(level.teachers), loss=level.loss,
            connector=level.connector) for level in self.levels}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> 'Recipe':
        """Back from :meth:`to_dict`."""
        return cls(tuple(
            LevelRecipe(name, tuple(values['teachers']), values['loss'],
                        values['connector'])
            for name, values in data.items()))

    def __str__(self) -> str:
        return ' + '.join(self.names) or 'nothing'


@dataclass(frozen=True)
class Vocabulary:
    """Configs by the names in recipes.

    Attributes:
        losses: configs, by name.
        connectors: likewise.
    """
    losses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    connectors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Result and cost of evaluating a candidate.

    Attributes:
        score: the task's metric on the search split, higher is better; None
            if the candidate could not be built or trained.
        images: number that went through the student, in training and scoring.
        seconds: of wall-clock time.
        error: why there is no score.
    """
    score: float | None
    images: int
    seconds: float
    error: str | None = None
