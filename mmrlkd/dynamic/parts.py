"""What a config's ``budget`` says about a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmrlkd.dynamic.features import StageFeature
from mmrlkd.dynamic.libraries import find_library
from mmrlkd.dynamic.quality import Quality
from mmrlkd.dynamic.settings import SettingSpace
from mmrlkd.registry import QUALITIES


@dataclass(frozen=True)
class BudgetParts:
    """A model, and what its config's ``budget`` names, bound to it.

    Attributes:
        model: in eval mode.
        space: of its settings.
        feature: that a controller sees.
        quality: of a prediction.
    """
    model: nn.Module
    space: SettingSpace
    feature: StageFeature
    quality: Quality

    @classmethod
    def build(cls, model: nn.Module,
              budget: Mapping[str, Any] | None) -> 'BudgetParts':
        """Build them.

        Args:
            model: a built model; it is put into eval mode.
            budget: a config's, such as ``dict(knobs=[dict(
                type='mmrlkd.InputScale', scales=(0.5, 1.0))],
                feature=dict(stage='layer1', scale=1.0),
                quality=dict(type='mmrlkd.OneMinusLRP', score_thr=0.3))``. Only
                ``knobs`` is needed. Other keys are not read here.

        Raises:
            ValueError: there are no knobs, or one of the parts does not fit the
                model.
        """
        if not budget or not budget.get('knobs'):
            raise ValueError(
                f'budget={budget!r} names no knobs; accepted: one such as budget='
                "dict(knobs=[dict(type='mmrlkd.InputScale', scales=(0.5, 1.0))]).")
        space = SettingSpace.build(budget['knobs'])
        space.bind(model)
        feature = StageFeature(**budget.get('feature', {}))
        feature.bind(model)
        default = dict(type=find_library(model).quality)
        quality = QUALITIES.build(dict(budget.get('quality', default)))
        return cls(model.eval(), space, feature, quality)
