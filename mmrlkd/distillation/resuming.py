"""What resuming a distillation needs beyond the student: saving and loading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.logging import MessageHub

from .settings import ACCEPTED, check_fixed, differences

if TYPE_CHECKING:
    from .distiller import PyramidDistiller


def check_run_state(model: PyramidDistiller) -> None:
    """Refuse to train in a Runner without :class:`RunStateHook`: resuming would
    initialise connectors and policy anew without a message."""
    # A MessageHub with this entry exists in a Runner only.
    if not model.keeps_run_state and MessageHub.get_current_instance(
    ).runtime_info.get('loop_stage') == 'train':
        raise ValueError(
            'default_hooks has no RunStateHook, so checkpoints would lack '
            'what resuming needs; accepted: default_hooks=dict('
            "run_state=dict(type='mmrlkd.RunStateHook'), …), which "
            "mmrlkd.PhaseHook and mmrlkd.DistillCheckpointHook bring "
            'along.')


def run_state(model: PyramidDistiller) -> dict[str, Any]:
    """Plain tensors and numbers, which load with ``weights_only=True``.

    They are equal on all ranks; what is not is the selector's
    ``local_run_state``.
    """
    state: dict[str, Any] = {
        'settings': dict(model.settings),
        'skipped': model.finite_check.skipped,
        'skipped_in_a_row': model.finite_check.in_a_row,
        'selector': model.selector.run_state(),
        'held_out_batches': model.held_out.given,
        'search_images': model.search_images,
    }
    if model.distils:
        state['links'] = model.distillation.links.state_dict()
        state['running_mean'] = model.distillation.running_mean
    if model.balancing is not None:
        state['balancing'] = model.balancing.state_dict()
    return state


def load_run_state(model: PyramidDistiller, state: dict[str, Any]) -> None:
    """Restore the state of :func:`run_state`.

    Raises:
        ValueError: it is the state of another kind of distillation.
    """
    saved = state.get('settings', {})
    # Before loading: shapes may fit although the numbers mean something else.
    if saved:
        check_fixed(saved, model.settings)
    if model.balancing is not None and 'balancing' not in state:
        raise ValueError(
            f'model.balancer is a {type(model.balancing.balancer).__name__}'
            f', and the run to be resumed had none; {ACCEPTED}')
    try:
        _load(model, state)
    except (KeyError, RuntimeError, ValueError) as error:
        clauses = list(differences(saved, model.settings).values()) or [
            'model has other levels, connectors, selector or balancer '
            f'than the run to be resumed ({error})']
        raise ValueError(f"{'; '.join(clauses)}; {ACCEPTED}") from error


def _load(model: PyramidDistiller, state: dict[str, Any]) -> None:
    model.finite_check.skipped = state['skipped']
    model.finite_check.in_a_row = state['skipped_in_a_row']
    model.selector.load_run_state(state['selector'])
    model.held_out.given = state['held_out_batches']
    model.functional.images = state['search_images']
    if model.distils:
        model.distillation.links.load_state_dict(state['links'])
        model.distillation.running_mean.copy_(state['running_mean'])
    if model.balancing is not None:
        model.balancing.load_state_dict(state['balancing'])
