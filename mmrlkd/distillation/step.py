"""One iteration of training: a plan and a batch go in, a value comes out.

:func:`run_step` is the iteration from top to bottom. :func:`distil` is the
part of it that runs inside the wrapper of distributed training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.distillation.features.levels import StudentMaps
from mmrlkd.distillation.selection.descriptors import Batch, Descriptions
from mmrlkd.distillation.selection.signals import BatchSignals
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.weighting.balancing import LevelTerms
from mmrlkd.rl import Rollout
from mmrlkd.structures import Choice, Selection

from .functional import preserved_rng
from .level_losses import LevelLosses
from .report import describe, describe_none
from .schedule import StepPlan
from .step_effect import SearchInputs, StepEffect

if TYPE_CHECKING:
    from .distiller import PyramidDistiller


@dataclass(frozen=True)
class StepOutput:
    """What one iteration computed; B images, L levels, T steps of an episode.

    Attributes:
        losses: 0-dim (or lists of them, as mmengine allows) by name; their
            sum is minimised. They carry their graphs until the student is
            updated, and are 0-dim and detached afterwards.
        scalars: 0-dim, for the log.
        level_losses: (B, L) distance to the teacher, detached; 0 where it was
            not computed. None where no levels are distilled.
        selection: (B, L) levels and weights; likewise.
        episode: (T, B, …), what the selector played and will learn from.
        terms: what each level adds to ``losses``, before it is balanced; kept
            until the student is updated.
    """
    losses: dict[str, Tensor]
    scalars: dict[str, Tensor] = field(default_factory=dict)
    level_losses: Tensor | None = None
    selection: Selection | None = None
    episode: Rollout | None = None
    terms: LevelTerms | None = None


@dataclass(frozen=True)
class Distilled:
    """A batch after the forward pass, where levels are distilled.

    Attributes:
        maps: the student's.
        losses: of the levels.
        choice: the selector's.
        levels: (B, L) bool on the CPU, the selected ones.
        terms: L 0-dim losses, weighted by image and meaned over the batch.
        descriptions: of the images.
    """
    maps: StudentMaps
    losses: LevelLosses
    choice: Choice
    levels: Tensor
    terms: list[Tensor]
    descriptions: Descriptions


def run_step(model: PyramidDistiller, wrapped: nn.Module, data: Any,
             optim_wrapper: OptimWrapper) -> StepOutput:
    """Run the student, distil, update what this iteration updates.

    Args:
        model: the distiller.
        wrapped: the distiller, or the wrapper that averages its gradients.
        data: a batch from the data loader.
        optim_wrapper: of the student and the connectors.
    """
    plan = model.schedule.plan()
    if not plan.update_student:
        wrapped = model  # no backward pass: no gradients to average
    statistics = model.finite_check.statistics()
    with optim_wrapper.optim_context(wrapped):
        batch = model.data_preprocessor(data, True)
        output: StepOutput = wrapped(
            **batch, mode='step', plan=plan,
            search=search_inputs(model, plan, optim_wrapper))
    losses, weights = balance(model, plan, output, optim_wrapper)
    total, scalars = model.parse_losses(losses)
    if plan.update_student:
        model.finite_check.update(optim_wrapper, total, statistics)
    else:
        model.finite_check.restore(statistics)
    values = {key: scalars[key].detach() for key in losses}
    scalars |= output.scalars | weights | count(model, plan, batch)
    scalars |= learn(model, plan)
    return replace(output, terms=None, losses=values, scalars=scalars)


# -- inside the wrapper --------------------------------------------------------


def distil(model: PyramidDistiller, plan: StepPlan, images: Tensor,
           samples: list, search: SearchInputs | None) -> StepOutput:
    """The losses of a training step, of which the selector learns.

    Args:
        model: the distiller.
        plan: of the iteration.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        search: for selectors that learn from held-out images.
    """
    gradients = plan.learn and model.selector.needs_gradients
    output, distilled = forward(model, plan, images, samples, gradients)
    if distilled is None:
        return output
    part, losses = model.distillation, distilled.losses
    scalars = dict(output.scalars)
    if plan.choose:
        model.selector.spend(distilled.choice)
    if plan.learn:
        scalars |= observe(
            model, output, distilled, images, samples, search, gradients)
        scalars['policy_progress'] = torch.tensor(plan.progress)
    part.track(losses, by_image=plan.choose and model.selector.adaptive)
    # What is computed beyond the selection is computed to learn from it;
    # where nothing is learned, to select.
    work = losses.work(distilled.levels)
    selected = losses.work_of(distilled.levels) if plan.learn else work
    # A head that ran for the logit loss is booked there.
    head = losses.teacher.ran_head and 'logit_gflops' not in scalars
    scalars |= describe(part, distilled.choice.selection,
                        torch.stack(distilled.terms), selected, work, head)
    return replace(output, scalars=scalars, level_losses=losses.values())


def forward(model: PyramidDistiller, plan: StepPlan, images: Tensor,
            samples: list, gradients: bool = False
            ) -> tuple[StepOutput, Distilled | None]:
    """The losses of a batch. Changes nothing but what the student's own
    forward pass changes: statistics and random numbers.

    Args:
        model: the distiller.
        plan: of the iteration. The heads run only if it updates the student
            or a reward wants their gradient.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        gradients: whether a reward wants gradients at the student's maps.
    """
    if not plan.distil:
        return undistilled(model, images, samples), None
    pyramid = extract_teacher(model, images, samples)
    heads = plan.update_student or gradients or not model.distils
    with (torch.set_grad_enabled(torch.is_grad_enabled() and heads),
          model.tap.recording(leaves=gradients)):
        losses = run_student(model, plan, images, samples, heads)
    maps = model.tap.take()
    scalars: dict[str, Tensor] = {}
    output, distilled = StepOutput(losses, scalars), None
    if pyramid is not None and model.distils:
        differentiable = plan.update_student and torch.is_grad_enabled()
        level_losses, descriptions, choice = choose(
            model, plan, images, samples, maps, pyramid, differentiable)
        levels = choice.selection.levels.to('cpu')
        level_losses.compute(levels)
        weights = choice.selection.weights
        terms = level_losses.terms(levels, weights)
        distilled = Distilled(
            maps, level_losses, choice, levels, terms, descriptions)
        losses['loss_distill'] = model.loss_weight * torch.stack(terms).sum()
        output = replace(
            output, selection=choice.selection, episode=choice.episode,
            terms=LevelTerms([model.loss_weight * term for term in terms],
                             weights.mean(dim=0), levels.any(dim=0).tolist()))
    part = model.logit_distillation
    if heads and part is not None and pyramid is not None and (
            maps.logits is not None) and (
            plan.update_student or not model.distils):
        loss = part(maps.logits, pyramid.logits(), samples)
        losses['loss_logits'] = model.logit_weight * loss
        scalars['distill.logits'] = loss.detach()
        scalars['logit_gflops'] = torch.tensor(part.gflops)
    return output, distilled


def undistilled(model: PyramidDistiller, images: Tensor,
                samples: list) -> StepOutput:
    """The losses of a phase that does not distil: the student's own."""
    losses = task_losses(model, images, samples)
    scalars: dict[str, Tensor] = {}
    if model.distils:
        losses['loss_distill'] = images.new_zeros(())
        scalars |= describe_none(model.distillation)
    if model.logit_distillation is not None:
        losses['loss_logits'] = images.new_zeros(())
        scalars |= {'distill.logits': torch.tensor(0.0),
                    'logit_gflops': torch.tensor(0.0)}
    return StepOutput(losses, scalars)


def extract_teacher(model: PyramidDistiller, images: Tensor,
                    samples: list) -> LazyPyramid | None:
    """The teacher's pyramid. Its backbone, which every level needs, runs at
    once: before the student's forward pass has filled the memory with its
    graph."""
    if model.teacher is None:
        return None
    pyramid = model.teacher.extract(images, samples)
    pyramid.begin()
    return pyramid


def task_losses(model: PyramidDistiller, images: Tensor,
                samples: list) -> dict[str, Tensor]:
    """The student's own; none of the name that the log has for the sum."""
    losses = model.student.loss(images, samples)
    return {'loss_task' if key == 'loss' else key: value
            for key, value in losses.items()}


def run_student(model: PyramidDistiller, plan: StepPlan, images: Tensor,
                samples: list, heads: bool) -> dict[str, Tensor]:
    """The student's forward pass, as far as it is needed; its losses, if they
    are wanted.

    Args:
        model: the distiller.
        plan: of the iteration. Where the selector chooses or learns, a
            descriptor may look at the student's logits.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        heads: whether the losses are wanted.
    """
    described = (model.distils and (plan.choose or plan.learn)
                 and model.distillation.describer.needs_student_head)
    if heads or described:
        losses = task_losses(model, images, samples)
        return losses if heads else {}
    model.adapter.extract(images)
    return {}


def choose(model: PyramidDistiller, plan: StepPlan, images: Tensor,
           samples: list, maps: StudentMaps, pyramid: LazyPyramid,
           differentiable: bool) -> tuple[LevelLosses, Descriptions, Choice]:
    """What the selector chooses; computes the losses and the descriptors that
    it asks for."""
    part = model.distillation
    losses = part.compare(maps.levels, pyramid, differentiable,
                          part.boxes(images, samples))
    descriptions = Descriptions(part.describer, Batch(
        images, samples, model.adapter, part.teacher.adapter, maps, pyramid,
        losses))
    everything = None if plan.choose else part.select(
        None, maps, losses, descriptions)
    if everything is not None and not plan.learn:
        return losses, descriptions, everything
    choice = part.select(model.selector, maps, losses, descriptions)
    if everything is not None:  # the choice is learned from, not followed
        choice = replace(choice, selection=everything.selection)
    return losses, descriptions, choice


def observe(model: PyramidDistiller, output: StepOutput, distilled: Distilled,
            images: Tensor, samples: list, search: SearchInputs | None,
            gradients: bool) -> dict[str, Tensor]:
    """Show the selector how its choice turned out; scalars for the log."""
    if model.selector.horizon > 1:
        # States of later steps show losses in units of running means, which
        # levels that are never selected need, too.
        distilled.losses.compute_all(graph=False)
    return model.selector.observe(
        measure(model, output, distilled, images, samples, search, gradients),
        distilled.choice)


def measure(model: PyramidDistiller, output: StepOutput, distilled: Distilled,
            images: Tensor, samples: list, search: SearchInputs | None,
            gradients: bool) -> BatchSignals:
    """What the batch tells about the worth of its levels; computes nothing
    yet."""
    losses, choice = distilled.losses, distilled.choice
    task, effect = None, None
    if gradients:
        task = model.parse_losses({
            key: loss for key, loss in output.losses.items()
            if key not in ('loss_distill', 'loss_logits')})[0]
    if search is not None:
        effect = StepEffect(
            model.functional, losses, images, samples,
            model.loss_weight * choice.selection.weights, search.held_out,
            model.data_preprocessor, search.optimizer)
    return BatchSignals(
        losses, distilled.maps, model.levels, model.adapter, task, effect,
        distilled.descriptions)


# -- around it -----------------------------------------------------------------


def search_inputs(model: PyramidDistiller, plan: StepPlan,
                  optim_wrapper: OptimWrapper) -> SearchInputs | None:
    """The next held-out batch, if the selector learns from it now."""
    if not (plan.learn and model.selector.needs_held_out):
        return None
    return SearchInputs(model.held_out.next(), optim_wrapper.optimizer)


def balance(model: PyramidDistiller, plan: StepPlan, output: StepOutput,
            optim_wrapper: OptimWrapper
            ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, with the levels' weighed by their gradients where a balancer
    is set; and its scalars.

    Its weights stand still while the backbone is frozen: what the levels share
    then is not what they share in training.
    """
    if (model.balancing is None or output.terms is None
            or not plan.update_student):
        return output.losses, {}
    task = {key: loss for key, loss in output.losses.items()
            if key != 'loss_distill'}
    balanced, scalars = model.balancing.combine(
        output.terms, model.parse_losses(task)[0], optim_wrapper,
        update=not plan.freeze_backbone)
    return output.losses | balanced, scalars


def count(model: PyramidDistiller, plan: StepPlan,
          batch: dict[str, Any]) -> dict[str, Tensor]:
    """What was updated and skipped, and the images that a search has used."""
    scalars = {
        'updates_student': torch.tensor(float(plan.update_student)),
        'skipped_updates': torch.tensor(float(model.finite_check.skipped)),
    }
    if model.selector.needs_held_out:
        model.functional.count(len(batch['inputs']))
        scalars['search_images'] = torch.tensor(float(model.search_images))
    return scalars


def learn(model: PyramidDistiller, plan: StepPlan) -> dict[str, Tensor]:
    """Improve the selector, once it has observed enough."""
    diagnostics = model.selector.learn() if plan.learn else None
    if diagnostics is None:
        return {}
    return {f'policy.{each.name}': getattr(diagnostics, each.name)
            for each in fields(diagnostics)}


# -- outside a training step ---------------------------------------------------


@contextmanager
def unchanged(model: PyramidDistiller) -> Iterator[None]:
    """Restore afterwards what a forward pass changes: statistics of
    normalisation layers, random numbers; and keep the selector from playing
    to learn."""
    selector = model.selector
    learning, selector.learning = selector.learning, False
    saved = [(buffer, buffer.clone()) for module in (model, selector)
             for buffer in module.buffers()]
    try:
        with preserved_rng():
            yield
    finally:
        selector.learning = learning
        for buffer, value in saved:
            # .data, for the graph may hold the buffer's version.
            buffer.data.copy_(value)


def evaluate_losses(model: PyramidDistiller, images: Tensor,
                    samples: list) -> dict[str, Tensor]:
    """The losses that a training step which updates the student would
    minimise, in whatever mode the model and autograd are; nothing changes.

    Args:
        model: the distiller.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
    """
    plan = replace(model.schedule.plan(), update_student=True, learn=False)
    with unchanged(model):
        return forward(model, plan, images, samples)[0].losses


@torch.no_grad()
def evaluate_choice(model: PyramidDistiller, images: Tensor,
                    samples: list) -> Selection:
    """What the selector chooses for images; changes nothing, and runs no head
    that no descriptor looks at."""
    pyramid = extract_teacher(model, images, samples)
    assert pyramid is not None, 'no levels are distilled'
    plan = model.schedule.plan()
    with unchanged(model):
        with model.tap.recording():
            run_student(model, plan, images, samples, heads=False)
        return choose(model, plan, images, samples, model.tap.take(), pyramid,
                      False)[2].selection
