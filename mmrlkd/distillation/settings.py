"""What a run was started with, compared with what it is resumed with."""

from collections.abc import Mapping
from typing import Any

#: Settings whose change would go on with numbers of another meaning, even
#: where all shapes fit; other settings may change between two parts of a run.
_FIXED = ('model.levels', 'model.loss.type', 'model.connector.type',
          'model.recipe', 'model.selector.type', 'model.selector.policy.type',
          'model.selector.learner.type', 'model.balancer.type')


def flatten(config: Any, prefix: str) -> dict[str, str]:
    """A config's values as text, by their keys from the top: ``'model.loss.type':
    "'CWDLoss'"``. A type has no scope, so that ``mmrlkd.CWDLoss`` is it, too.
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
    """A clause for each setting that is not the saved run's, by its key."""
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
        # What one config leaves to the default may be the other's value.
        given = key in saved and key in present
        if key.startswith(_FIXED) and (
                given or key.startswith('model.recipe')):
            raise ValueError(f'{clause}; {ACCEPTED}')


#: How a sentence about a run that does not fit ends.
ACCEPTED = ('accepted: the settings that the run was started with, or '
            "load_from instead of resume, which starts anew from the "
            "student's weights.")
