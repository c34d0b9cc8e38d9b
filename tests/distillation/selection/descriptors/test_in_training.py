"""Descriptors in a training step: computed once, and only if asked for."""

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmrlkd.distillation.logits import count_head
from mmrlkd.structures import Phase

ORACLE = dict(
    type='mmrlkd.GroupSelector', descriptor='objects', edges=[3.5],
    rates=[[0, 0, 0, 1], [1, 0, 0, 0]])


def policy(*context, **kwargs):
    return dict(
        type='mmrlkd.PolicySelector', rollout_batches=1, context=list(context),
        policy=dict(type='mmrlkd.LSTMPolicy', hidden=16), **kwargs)


def optimizer_of(model):
    return build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)))


def counts(batch):
    return torch.tensor(
        [len(sample.gt_instances) for sample in batch['data_samples']])


def test_an_oracle_sees_the_labels(build_distiller, detection_batch):
    model = build_distiller(selector=ORACLE).train()
    for i, sample in enumerate(detection_batch['data_samples']):
        sample.gt_instances = sample.gt_instances[:i % 2 and 4 or 3]
    many = counts(detection_batch) > 3
    output = model.run_step(model, detection_batch, optimizer_of(model))
    assert output.selection.levels[:, 0].equal(many)
    assert output.selection.levels[:, 3].equal(~many)
    assert 'descriptor_gflops' not in output.scalars


def test_the_state_shows_what_the_policy_asks_for(
        build_distiller, detection_batch):
    names = ['objects', 'teacher_confidence', 'discrepancy']
    model = build_distiller(selector=policy(*names)).train()
    assert model.distillation.space.context == 3
    assert model.selector.policy.encoder.context[0].in_features == 3
    objects = counts(detection_batch).float()
    model.schedule.set(Phase('policy', 1.0), 0, 0.0)
    output = model.run_step(model, detection_batch, optimizer_of(model))
    context = output.episode.observation.context
    assert context.shape == (4, 4, 3)  # steps, images, numbers
    assert (context == context[:1]).all()  # what is known does not change
    torch.testing.assert_close(context[0, :, 0], objects.log1p())
    torch.testing.assert_close(  # the running means are those of this batch
        context[0, :, 2], output.level_losses.mean(1).log1p())


def test_the_teachers_head_runs_once_if_at_all(
        build_distiller, detection_batch):
    for names, runs in ((['objects'], 0),
                        (['teacher_entropy', 'teacher_detections'], 1)):
        model = build_distiller(selector=policy(*names)).train()
        ran = []
        head = model.teacher.model.bbox_head
        head.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        wanted = count_head(model.teacher.adapter)[1] if runs else 0
        ran.clear()
        for choose, learn_every in product((False, True), (0, 1)):
            model.schedule.set(Phase(
                'p', 1.0, choose=choose, learn_every=learn_every), 0, 0.0)
            log = model.train_step(
                copy.deepcopy(detection_batch), optimizer_of(model))
            looks = choose or learn_every > 0
            assert len(ran) == runs * looks
            assert log.get('descriptor_gflops', 0) == pytest.approx(
                wanted * looks)
            ran.clear()


def test_whoever_asks_gets_what_was_computed(build_distiller, detection_batch):
    """The state, the selector and the reward."""
    model = build_distiller(selector=policy('objects')).train()
    asked = []
    describer = model.distillation.describer
    inner = describer.descriptors['objects']

    class Counted(type(inner)):
        def __call__(self, batch):
            asked.append(1)
            return super().__call__(batch)

    describer.descriptors['objects'] = Counted()
    seen = []
    gains = model.selector.observe
    model.selector.observe = lambda signals, choice: (
        seen.append(signals.describe('objects')), gains(signals, choice))[1]
    model.schedule.set(Phase('policy', 1.0), 0, 0.0)
    objects = counts(detection_batch).float()
    model.train_step(detection_batch, optimizer_of(model))
    assert len(asked) == 1
    assert seen[0].equal(objects) and not seen[0].requires_grad


def test_choosing_for_evaluation_sees_them_too(build_distiller, detection_batch):
    model = build_distiller(selector=ORACLE).eval()
    data = model.data_preprocessor(detection_batch, False)
    many = counts(data) > 3
    levels = model.choose(data['inputs'], data['data_samples']).levels
    assert levels[:, 0].equal(many)
    for sample in data['data_samples']:
        del sample.gt_instances
    with pytest.raises(ValueError, match='objects of each image.*accepted'):
        model.choose(data['inputs'], data['data_samples'])


@pytest.mark.parametrize(('name', 'reason'), [
    ('boundary', 'a class for each pixel, which detection does not have'),
    ('teacher_loss', r'logits for each image or pixel, which the teacher '
                     r'\(RetinaNet\) does not have'),
    ('student_loss', 'logits for each image or pixel, which the student'),
    ('weather', "'weather' is no descriptor"),
])
def test_what_a_detector_cannot_give_is_refused(build_distiller, name, reason):
    with pytest.raises(ValueError, match=(
            f'model.selector: .*{reason}.*accepted for detection: .*objects')):
        build_distiller(selector=policy(name))


def test_heads_that_are_not_known_are_refused(build_distiller):
    model = build_distiller(selector=policy('teacher_confidence'))
    teacher = model.teacher.adapter
    teacher.model.bbox_head = torch.nn.Identity()
    descriptor = model.distillation.describer.descriptors['teacher_confidence']
    assert 'is not known to have' in descriptor.misfit(model.adapter, teacher)


def test_a_two_stage_teacher_is_asked_for_its_proposals(build_distiller):
    """An RPN is a dense head of one class."""
    from mmdet.models import RPNHead
    model = build_distiller(selector=policy('teacher_detections'))
    teacher = model.teacher.adapter
    del teacher.model.bbox_head
    teacher.model.rpn_head = RPNHead(
        in_channels=16, feat_channels=16, anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32]))
    logits, gflops = count_head(teacher)
    maps = teacher.score_maps(logits)
    assert [each.shape[1:3] for each in maps] == [(3, 1)] * 4
    assert all((each > 0).all() and (each < 1).all() for each in maps)
    assert gflops > 0


def test_the_background_of_a_softmax_is_no_score(build_distiller):
    from mmdet.models import RetinaHead
    model = build_distiller(selector=policy('teacher_detections'))
    teacher = model.teacher.adapter
    teacher.model.bbox_head = RetinaHead(
        num_classes=5, in_channels=16, feat_channels=16, stacked_convs=1,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=2, scales_per_octave=2,
            ratios=[1.0], strides=[4, 8, 16, 32]))
    maps = teacher.score_maps(count_head(teacher)[0])
    assert [each.shape[1:3] for each in maps] == [(2, 5)] * 4
    assert all((each.sum(2) < 1).all() for each in maps)


def test_a_number_that_is_not_finite_is_not_shown(
        build_distiller, detection_batch):
    model = build_distiller(selector=policy('discrepancy')).train()
    detection_batch['inputs'] = [
        each.float() * float('nan') for each in detection_batch['inputs']]
    model.schedule.set(Phase('policy', 1.0), 0, 0.0)
    output = model.run_step(model, detection_batch, optimizer_of(model))
    assert (output.episode.observation.context == 0).all()


def test_the_width_without_context_is_the_drafts(build_distiller):
    model = build_distiller(selector=policy())
    assert model.distillation.space.context == 0
    assert replace(model.distillation.space) == model.distillation.space
