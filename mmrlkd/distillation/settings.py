"""Comparing the settings of a run with those that it is resumed with."""

from collections.abc import Mapping
from typing import Any

#: Settings that must not change when a run is resumed, even if all shapes fit,
#: because the saved numbers would have another meaning.
_FIXED = (
    'model.levels', 'model.loss.type', 'model.connector.type', 'model.recipe',
    'model.balancer.type', *(
        f'{selector}.{key}'
        # The selector, or the one under control.
        for selector in ('model.selector', 'model.selector.selector')
        for key in ('type', 'policy.type', 'learner.type', 'context',
                    'descriptor', 'reward.signal', 'reward.descriptor')))


def flatten(config: Any, prefix: str) -> dict[str, str]:
    """A config's values as text, by dotted key: ``'model.loss.type':
    "'CWDLoss'"``. Types are without scope, so that ``mmrlkd.CWDLoss`` is equal.
    """
    if isinstance(config, Mapping):
        flat: dict[str, str] = {}
        for key, value in config.items():
            flat |= flatten(value, f'{prefix}.{key}')
        return flat
    if config is None:
        return {}
    if isinstance(config, type):
        config = config.__name__
    if prefix.endswith('.type'):
        config = str(config).rpartition('.')[2]
    return {prefix: repr(config)}


def differences(saved: Mapping[str, str], present: Mapping[str, str]
                ) -> dict[str, str]:
    """A clause for each setting that differs from the saved run's, by key."""
    return {
        key: f"{key} is {present.get(key, 'not set')}, and the run to be "
             f"resumed had {saved.get(key, 'none')}"
        for key in sorted(saved.keys() | present.keys())
        if saved.get(key) != present.get(key)}


def check_fixed(saved: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Refuse to resume a run that distilled in another way.

    Raises:
        ValueError: a setting that must not change has another value.
    """
    for key, clause in differences(saved, present).items():
        # A key that only one config has may have the same value by default in
        # the other.
        given = key in saved and key in present
        if key.startswith(_FIXED) and (
                given or key.startswith('model.recipe')):
            raise ValueError(f'{clause}; {ACCEPTED}')


#: End of messages about a run that does not fit.
ACCEPTED = ('accepted: the settings that the run was started with, or '
            "load_from instead of resume, which starts anew from the "
            "student's weights.")
