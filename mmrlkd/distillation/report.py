"""Scalars for the log about a batch's distillation."""

import torch
from torch import Tensor

from mmrlkd.structures import Selection

from .distillation import Distillation
from .level_losses import Work


@torch.no_grad()
def describe(part: Distillation, selection: Selection, per_level: Tensor,
             selected: Work, work: Work, head: bool) -> dict[str, Tensor]:
    """Scalars for the log; costs are means over the batch's images.

    Args:
        part: the distillation.
        selection: of the batch.
        per_level: (L,), what each level adds to the loss.
        selected: the work that the selection took.
        work: all that was done; what goes beyond the selection is booked as
            the rewards'.
        head: whether the teacher's head was run for a descriptor.
    """
    chosen = selection.levels.float().mean(dim=0).to(
        part.level_costs, non_blocking=True)
    ran = part.gflops(selected.computed_in(work))
    in_all = part.gflops(work)
    batch = len(selection.levels)
    report = {
        'levels_per_image': chosen.sum(),
        'distill_cost': (chosen * part.level_costs).sum(),
        'distill_gflops': torch.tensor(ran / batch),
        'reward_gflops': torch.tensor((in_all - ran) / batch),
    }
    if part.describer.gflops:
        report['descriptor_gflops'] = torch.tensor(
            part.describer.gflops * head)
    for i, name in enumerate(part.space.names):
        report[f'select.{name}'] = chosen[i]
        report[f'distill.{name}'] = per_level[i].detach()
    return report


def describe_none(part: Distillation) -> dict[str, Tensor]:
    """The scalars of :func:`describe` for a phase without distillation.

    Zeros, because mmengine's log repeats the last value of a scalar that an
    iteration does not report.

    Args:
        part: the distillation.
    """
    names = ['levels_per_image', 'distill_cost', 'distill_gflops',
             'reward_gflops']
    if part.describer.gflops:
        names.append('descriptor_gflops')
    for level in part.space.names:
        names += [f'select.{level}', f'distill.{level}']
    return {name: torch.tensor(0.0) for name in names}
