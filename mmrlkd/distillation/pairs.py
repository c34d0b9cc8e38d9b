"""Links: which of the student's levels learns from which of the teacher's."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmrlkd.distillation.connectors import Connector
from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.losses import LevelLoss
from mmrlkd.registry import CONNECTORS, LOSSES
from mmrlkd.structures import Boxes

#: Keys of a recipe for a level.
KEYS = ('teachers', 'loss', 'connector')
#: The connector of a loss that compares maps of any width.
IDENTITY = dict(type='mmrlkd.IdentityConnector')


class Link(nn.Module):
    """One level of the student learning from one of the teacher.

    Args:
        teacher: number of the teacher's level.
        connector: maps the student's map to the teacher's width and size.
        loss: compares the two maps.
    """

    def __init__(self, teacher: int, connector: Connector,
                 loss: LevelLoss) -> None:
        super().__init__()
        self.teacher = teacher
        self.connector = connector
        self.loss = loss

    def forward(self, student: Tensor, teacher: Tensor,
                boxes: Boxes | None = None) -> Tensor:
        """(n,) losses of maps (n, C, h, w) and (n, C', H, W).

        Args:
            student: its maps.
            teacher: its maps of the same n images.
            boxes: of their objects, for a loss that needs them.
        """
        return self.loss(
            self.connector(student, teacher.shape[-2:]), teacher, boxes)


class LevelLinks(nn.ModuleList):
    """All links of one level of the student; its loss is their mean."""

    def describe(self, part: str) -> str:
        """The classes of each link's connector or loss, named once."""
        return ', '.join(dict.fromkeys(
            type(getattr(link, part)).__name__ for link in self))


def build_links(student: Sequence[Level], teacher: Sequence[Level],
                loss: dict, connector: dict,
                recipe: Mapping[str, Mapping[str, Any]]) -> nn.ModuleList:
    """A :class:`LevelLinks` for each level.

    Args:
        student: its levels, finest first.
        teacher: its levels, of the same names.
        loss: config of the loss of levels without one in the recipe.
        connector: config of the connector of levels without one in the recipe;
            not used for a loss that compares maps of any width.
        recipe: for some levels, by name: ``teachers``, names of the teacher's
            levels (by default the one of the same name), ``loss`` and
            ``connector``.

    Raises:
        ValueError: the recipe has unknown levels or keys, or a loss would be
            constant.
    """
    names = [level.name for level in student]
    _check(recipe, names)
    links = nn.ModuleList()
    for mine in student:
        own = recipe.get(mine.name, {})
        level = LevelLinks()
        # Each link has its own connector and loss, even where their configs are
        # equal: both may have weights.
        for name in own.get('teachers') or (mine.name, ):
            number = names.index(name)
            width = teacher[number].channels
            compare = LOSSES.build(own.get('loss') or loss)
            connect = CONNECTORS.build(dict(
                own.get('connector') or
                (connector if compare.compares_channels else IDENTITY),
                student_channels=mine.channels, teacher_channels=width))
            if compare.compares_positions and teacher[number].size == (1, 1):
                raise ValueError(
                    f'loss of {mine.name} is a {type(compare).__name__}, which '
                    'compares the positions of a channel with one another, '
                    f"and the teacher's {name} has but one in the probe image, "
                    'so the loss would always be 0; accepted: another loss in '
                    f'recipe[{mine.name!r}], levels without {mine.name}, or, '
                    'if the images are larger than the probe, their size as '
                    'probe_size.')
            # Learned parts of a loss have the width of the teacher's map.
            compare.bind(width)
            level.append(Link(number, connect, compare))
        links.append(level)
    return links


def _check(recipe: Mapping[str, Mapping[str, Any]],
           names: Sequence[str]) -> None:
    for level, own in recipe.items():
        teachers = own.get('teachers') or (level, )
        for key, name in (('a level', level),
                          *(('teachers', name) for name in teachers)):
            if name not in names:
                raise ValueError(
                    f'recipe[{level!r}]: {name!r} as {key}; accepted: '
                    f'{", ".join(names)}, as in levels.')
        if len(set(teachers)) != len(teachers):
            raise ValueError(
                f'recipe[{level!r}]: teachers={list(teachers)} names a level '
                'twice; accepted: different names.')
        unknown = set(own) - set(KEYS)
        if unknown:
            raise ValueError(
                f'recipe[{level!r}] has {sorted(unknown)}; accepted: '
                f'{", ".join(KEYS)}.')
