"""Whether this machine is as fast as the one that was profiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
from mmengine.logging import print_log

from mmrlkd.arguments import check_choice

from .budgeted import BudgetedModel
from .machine import clock_ms, describe_machine

#: Latencies closer to the profile's than this share are as profiled.
TOLERANCE = 0.15
REPEATS = 9

Option = Literal['rescale', 'refuse', 'ignore']
OPTIONS = ('rescale', 'refuse', 'ignore')


@dataclass(frozen=True)
class Drift:
    """Latencies of a few settings at start-up, beside the profile's.

    Attributes:
        ratio: latency here divided by the profile's, median of the settings.
        now: ms of each setting here, by its description.
        profiled: ms that the profile predicts for the same image.
        overhead_ms: what deciding adds to a run here, besides looking.
        machine: what this machine has differently: (profiled, here), by name.
    """
    ratio: float
    now: Mapping[str, float]
    profiled: Mapping[str, float]
    overhead_ms: float
    machine: Mapping[str, tuple[Any, Any]]

    @property
    def drifted(self) -> bool:
        """Whether latencies are others than the profile's."""
        return abs(self.ratio - 1) > TOLERANCE

    def __str__(self) -> str:
        latencies = ', '.join(
            f'{name}: {self.profiled[name]:.3g} ms profiled, {now:.3g} ms here'
            for name, now in self.now.items())
        machine = '; '.join(f'{name} {before!r}, here {here!r}'
                            for name, (before, here) in self.machine.items())
        return (f'Latencies are {self.ratio:.2f} times those of the profile '
                f'({latencies}). ' + (
                    f'The profile is of another machine: {machine}.' if machine
                    else 'The machine is the one that was profiled.'))


@torch.no_grad()
def measure_drift(budgeted: BudgetedModel, batch: dict[str, Any],
                  repeats: int = REPEATS) -> Drift:
    """Measure the cheapest, the middle and the dearest setting.

    They run as in the profile, in turns, so that a slow moment of the machine
    meets them alike.

    Args:
        budgeted: the model.
        batch: one image, preprocessed.
        repeats: of each measurement.
    """
    budgeted = budgeted.looking()
    parts, controller = budgeted.parts, budgeted.controller
    device = batch['inputs'].device
    order = controller.latency.median.argsort().tolist()
    settings = sorted({order[0], order[len(order) // 2], order[-1]})
    context = (torch.zeros(1, controller.header.context_dim)
               if controller.header.context_dim else None)
    times: dict[int, list[float]] = {setting: [] for setting in settings}
    added = []
    for repeat in range(repeats + 1):  # the first one warms up
        for setting in settings:
            begin = clock_ms(device)
            budgeted.predict_in(batch, [setting])
            times[setting] += [clock_ms(device) - begin] * (repeat > 0)
        begin = clock_ms(device)
        _, (decision, ) = budgeted.predict(batch, torch.inf, context)
        middle = clock_ms(device)
        budgeted.predict_in(batch, [decision.setting])
        end = clock_ms(device)
        added += [(middle - begin) - (end - middle)] * (repeat > 0)
    early = parts.feature.compute(batch['inputs'], batch['data_samples'])
    profiled = controller.latency.predict(early.pooled.float().cpu())[0].tolist()
    now = {setting: median(measured) for setting, measured in times.items()}
    ratio = median(now[setting] / profiled[setting] for setting in settings)
    looking = ratio * controller.looking_ms[decision.setting].item()
    here, there = describe_machine(device), controller.header.machine
    return Drift(
        ratio=ratio,
        now={parts.space.describe(setting): now[setting] for setting in settings},
        profiled={parts.space.describe(setting): profiled[setting]
                  for setting in settings},
        overhead_ms=max(0., median(added) - looking),
        machine={name: (there[name], value) for name, value in here.items()
                 if name in there and there[name] != value})


def corrected(budgeted: BudgetedModel, batch: dict[str, Any],
              option: Option) -> BudgetedModel:
    """The model as it is to be used on this machine.

    Args:
        budgeted: with a controller of the profile's machine.
        batch: see :func:`measure_drift`.
        option: ``'ignore'`` measures nothing. The others measure, and where
            latencies have drifted or the machine is another one they say so;
            then ``'rescale'`` multiplies the predicted latencies by the ratio,
            and ``'refuse'`` raises. A machine that is slower by less than that
            is not named, but reckoned with; one that is faster by less may be the
            profile's at a good moment. Of the time of a decision, too, the longer
            one counts.

    Raises:
        ValueError: drifted latencies are refused, or there is no such option.
    """
    check_choice('BudgetedInferencer', 'drift', option, OPTIONS)
    if option == 'ignore':
        return budgeted
    drift = measure_drift(budgeted, batch)
    if drift.drifted and option == 'refuse':
        raise ValueError(
            f"BudgetedInferencer: drift='refuse'. {drift} Accepted: a profile of "
            "this machine, or drift='rescale', which multiplies the predicted "
            'latencies by this number.')
    if drift.drifted or drift.machine:
        print_log(str(drift) + (
            ' Predicted latencies are multiplied by this.' if drift.drifted
            else ''), 'current')
    return budgeted.with_controller(budgeted.controller.adjusted(
        overhead_ms=max(drift.overhead_ms, budgeted.controller.overhead_ms),
        time_scale=drift.ratio if drift.drifted else max(1., drift.ratio)))
