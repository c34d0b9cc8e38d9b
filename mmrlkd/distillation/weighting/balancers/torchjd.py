"""The aggregators of torchjd."""

from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import refuse
from mmrlkd.registry import BALANCERS

from .base import Balancer


@BALANCERS.register_module()
class TorchJDBalancer(Balancer):
    """The weights of an aggregator of torchjd (``pip install
    mmrlkd[balancing]``).

    It gets the gradients of the active levels only, divided by the largest norm
    among them, so that its small constants have the same effect at any loss
    weight. Some aggregators average and some sum; here their weights are scaled
    so that the absolute values of the active ones sum to their number. Single
    weights may be 0 (``MGDA``) or negative (``IMTLG``). Stateful aggregators are
    refused, because torchjd does not save their state.

    Most of these aggregators work on the CPU: each batch waits for the device.

    Quinton and Rey, *Jacobian descent*, 2024,
    https://arxiv.org/abs/2406.16232.

    Args:
        aggregator: name in ``torchjd.aggregation``, e.g. ``'UPGrad'``.
        settings: its arguments; lists become tensors. Arguments with an entry
            for each row (``pref_vector``, ``weights``) fit only if every batch
            selects all levels.
    """

    stateful = False

    def __init__(self, aggregator: str = 'UPGrad', **settings: Any) -> None:
        super().__init__()
        members = _members()
        if aggregator not in members:
            refuse('TorchJDBalancer', 'aggregator', aggregator,
                   f"{', '.join(members)} (of torchjd's aggregators, those "
                   'that weigh the rows and keep no state)')
        try:
            built = members[aggregator](**{
                key: torch.tensor(value, dtype=torch.float32)
                if isinstance(value, list | tuple) else value
                for key, value in settings.items()
            })
        except (ImportError, TypeError, ValueError) as error:
            raise ValueError(
                f'TorchJDBalancer: aggregator={aggregator!r} cannot be built '
                f'with {settings} ({error}); accepted: the arguments of '
                f'torchjd.aggregation.{aggregator}.') from error
        self.weighting = built.weighting

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        chosen = active.nonzero().flatten()
        if not len(chosen):
            return self.weights
        tiny = torch.finfo(rows.dtype).tiny
        rows = rows[chosen]
        found = self.weighting(
            rows / rows.norm(dim=1).max().clamp_min(tiny))
        found = found * len(found) / found.abs().sum().clamp_min(tiny)
        return self.weights.index_copy(0, chosen, found.to(self.weights))


def _members() -> dict[str, type]:
    try:
        from torchjd import Stateful, aggregation
    except ImportError as error:
        raise ValueError(
            'TorchJDBalancer: torchjd cannot be imported '
            f'({error}); accepted: torchjd >= 0.18, by pip install '
            'mmrlkd[balancing].') from error
    bases = (aggregation.WeightedAggregator,
             aggregation.GramianWeightedAggregator)
    return {
        name: member for name in aggregation.__all__
        if isinstance(member := getattr(aggregation, name), type)
        and issubclass(member, bases) and member not in bases
        and not issubclass(member, Stateful)
    }
