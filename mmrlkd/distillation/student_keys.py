"""Loading checkpoints with the student's keys into a distiller."""

from typing import Any

from torch import nn


def adopt_student_keys(module: nn.Module, state_dict: dict, prefix: str,
                       *_: Any) -> None:
    """A pre-hook of ``load_state_dict`` that adds the prefix ``student.``.

    Modules that the state dict does not have, such as the connectors, which are
    resumed separately, keep their values.
    """
    for key in [k for k in state_dict if k.startswith(prefix)
                and not k.startswith(f'{prefix}student.')]:
        state_dict[f'{prefix}student.{key[len(prefix):]}'] = state_dict.pop(
            key)
    for key, value in nn.Module.state_dict(module).items():
        if not key.startswith('student.'):
            state_dict.setdefault(prefix + key, value)
