"""The layer whose gradients a balancer compares."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.features.maps import as_maps
from mmrlkd.distillation.features.probing import evaluating


def find_shared_layer(student: TaskAdapter, levels: Sequence[Level],
                      path: str | None) -> str:
    """Path of a layer that the gradients of all levels' losses reach.

    The gradient of a level's loss reaches the parameters that the level's map
    depends on, so the graph of one forward pass shows which these are.

    Args:
        student: its adapter.
        levels: levels that are distilled.
        path: of the layer, if the config names one; None for the last one that
            all levels share: with an FPN the top lateral convolution, without a
            neck the end of the finest level's stage.

    Raises:
        ValueError: some level does not reach the layer, or there is none.
    """
    reached = {level: _leaves(maps) for level, maps in _maps(student, levels)}
    found = next(
        (name for name in student.layers()
         if all(id(_weight(student, name)) in leaves
                for leaves in reached.values())), None)
    hint = f'such as {found!r}' if found else (
        'but these levels share none: leave out one of model.levels, or '
        'train more of the student (backbone.frozen_stages)')
    if path is None:
        if found is None:
            raise ValueError(
                'balancer.layer is None and no trained layer is reached by '
                f"the losses of all of {', '.join(reached)} (none at all by: "
                f"{', '.join(name for name in reached if not reached[name])}"
                f'); accepted: a layer that all of them reach, {hint}.')
        return found
    try:
        weight = _weight(student, path)
    except AttributeError:
        weight = None
    if not isinstance(weight, nn.Parameter):
        raise ValueError(
            f'balancer.layer={path!r} is no layer of the student with a '
            f'weight; accepted: the path of one, {hint}.')
    if not weight.requires_grad:
        raise ValueError(
            f'balancer.layer={path!r} is frozen; accepted: a layer that is '
            f'trained, {hint}.')
    without = [name for name, leaves in reached.items()
               if id(weight) not in leaves]
    if without:
        raise ValueError(
            f"balancer.layer={path!r} is not reached by the loss of "
            f"{', '.join(without)}; accepted: a layer that the losses of all "
            f"of {', '.join(reached)} reach, {hint}.")
    return path


def _weight(student: TaskAdapter, path: str) -> nn.Parameter | None:
    return getattr(student.model.get_submodule(path), 'weight', None)


def _maps(student: TaskAdapter,
          levels: Sequence[Level]) -> list[tuple[str, Tensor]]:
    """Name and map of each level, with its graph."""
    with torch.enable_grad(), evaluating(*student.parts):
        output, stages = student.stages.run(student.probe_image())
        outputs = {'backbone': stages}
        if student.neck is not None:
            outputs['neck'] = as_maps(student.neck(output))
    return [(level.name, outputs[level.module][level.index])
            for level in levels]


def _leaves(maps: Tensor) -> set[int]:
    """Ids of the parameters that a backward pass from ``maps`` reaches."""
    # Autograd has no public function for this; next_functions are the edges of
    # its graph.
    found: set[int] = set()
    seen, waiting = set(), [maps.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):  # AccumulateGrad, of a leaf
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found
