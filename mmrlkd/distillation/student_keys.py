"""Checkpoints with the student's keys, for a model around the student."""

from typing import Any

from torch import nn


def adopt_student_keys(module: nn.Module, state_dict: dict, prefix: str,
                       *_: Any) -> None:
    """Let the student's plain keys load into a distiller.

    Torch looks for ``student.…``; what the state dict does not hold (the
    connectors, which resume from a part of their own) stays as it is.
    """
    for key in [k for k in state_dict if k.startswith(prefix)
                and not k.startswith(f'{prefix}student.')]:
        state_dict[f'{prefix}student.{key[len(prefix):]}'] = state_dict.pop(
            key)
    for key, value in nn.Module.state_dict(module).items():
        if not key.startswith('student.'):
            state_dict.setdefault(prefix + key, value)
