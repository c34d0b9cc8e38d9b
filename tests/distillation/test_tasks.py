"""Segmentors and classifiers are distilled as detectors are."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.engine.hooks import SwitchRecipeHook
from torch import nn

from mmrlkd.distillation.features.adapters import adapt
from mmrlkd.distillation.features.levels import choose_levels
from mmrlkd.distillation.selection.descriptors.base import per_image_loss
from mmrlkd.distillation.selection.signals import BatchSignals
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

CLASSES, SIZE, BATCH = 6, 64, 4
POLICY = dict(type='mmrlkd.PolicySelector', rollout_batches=1,
              policy=dict(type='mmrlkd.LSTMPolicy', hidden=16),
              learner=dict(type='mmrlkd.PPO', epochs=1, minibatches=1))
KL = dict(type='mmrlkd.KLLoss', tau=2.0)


def segmentor(width, neck=False, **changes):
    channels = [width * 2**i for i in range(4)]
    head = dict(
        type='FCNHead', in_channels=channels[-1], in_index=3, channels=8,
        num_convs=1, concat_input=False)
    if neck:
        head = dict(
            type='FPNHead', in_channels=[8] * 4, in_index=[0, 1, 2, 3],
            feature_strides=[4, 8, 16, 32], channels=8)
    return ConfigDict(
        type='EncoderDecoder', _scope_='mmseg',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[123.7, 116.3, 103.5],
            std=[58.4, 57.1, 57.4], bgr_to_rgb=True, pad_val=0,
            seg_pad_val=255, size=(SIZE, SIZE)),
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=width,
            stem_channels=width, num_stages=4, out_indices=(0, 1, 2, 3),
            dilations=(1, 1, 1, 1), strides=(1, 2, 2, 2), norm_cfg=dict(type='BN'),
            norm_eval=False, style='pytorch', contract_dilation=True),
        neck=dict(type='FPN', in_channels=channels, out_channels=8,
                  num_outs=4) if neck else None,
        decode_head=dict(
            head, dropout_ratio=0.1, num_classes=CLASSES,
            norm_cfg=dict(type='BN'), align_corners=False, ignore_index=255,
            loss_decode=dict(type='CrossEntropyLoss')),
        train_cfg=dict(), test_cfg=dict(mode='whole'), **changes)


def classifier(width, **changes):
    return ConfigDict(dict(
        type='ImageClassifier', _scope_='mmpretrain',
        data_preprocessor=dict(
            num_classes=CLASSES, mean=[123.7, 116.3, 103.5],
            std=[58.4, 57.1, 57.4], to_rgb=True),
        backbone=dict(
            type='ResNet', depth=18, base_channels=width, stem_channels=width,
            num_stages=4, out_indices=(3, ), style='pytorch'),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead', num_classes=CLASSES, in_channels=8 * width,
            loss=dict(type='CrossEntropyLoss')), **changes))


def segmentation_batch():
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(BATCH):
        sample = SegDataSample(metainfo=dict(
            img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
        labels = torch.randint(CLASSES, (1, SIZE, SIZE))
        labels[:, :8] = 255
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return samples


def classification_batch():
    from mmpretrain.structures import DataSample
    return [DataSample().set_gt_label(i % CLASSES) for i in range(BATCH)]


TASKS = {
    'segmentation': (
        'mmseg', segmentor(4), segmentor(8), segmentation_batch),
    'segmentation, neck': (
        'mmseg', segmentor(4, neck=True), segmentor(8, neck=True),
        segmentation_batch),
    'classification': (
        'mmpretrain', classifier(4), classifier(8), classification_batch),
}


@pytest.fixture(params=TASKS)
def task(request, tmp_path):
    """A way to build a distiller of the task, and a batch for it."""
    scope, student, teacher, samples = TASKS[request.param]
    init_default_scope(scope)
    model = MODELS.build(copy.deepcopy(teacher))
    path = tmp_path / 'teacher.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    data = dict(
        inputs=list(torch.randint(256, (BATCH, 3, SIZE, SIZE),
                                  dtype=torch.uint8)),
        data_samples=samples())
    if scope == 'mmpretrain':
        data['inputs'] = torch.stack(data['inputs'])

    def build(**overrides):
        return MODELS.build(copy.deepcopy({**dict(
            type='mmrlkd.PyramidDistiller', student=student,
            teacher=dict(config=teacher, checkpoint=str(path)),
            selector=POLICY), **overrides}))

    return build, student, data


def step(model, data):
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)))
    return model.train().train_step(copy.deepcopy(data), optimizer)


def test_a_step_with_the_policy(task):
    build, student, data = task
    model = build()
    before = copy.deepcopy(model.state_dict())
    scalars = step(model, data)
    assert torch.isfinite(scalars['loss']) and scalars['loss_distill'] > 0
    assert 1 <= scalars['levels_per_image'] <= len(model.levels)
    after = model.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    MODELS.build(student).load_state_dict(after, strict=True)


def test_mmpretrains_hook_switches_the_students_loss(tmp_path):
    init_default_scope('mmpretrain')
    model = MODELS.build(copy.deepcopy(classifier(8)))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'teacher.pth')
    distiller = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=copy.deepcopy(classifier(4)),
        teacher=dict(config=copy.deepcopy(classifier(8)),
                     checkpoint=str(tmp_path / 'teacher.pth')),
        selector=POLICY))
    loss = nn.Identity()
    SwitchRecipeHook([])._switch_loss(SimpleNamespace(model=distiller), loss)
    assert distiller.student.head.loss_module is loss


def test_all_levels_are_found(task):
    build, student, _ = task
    model = build()
    kind = 'P' if student.get('neck', {}) and student.type != (
        'ImageClassifier') else 'C'
    names = [f'{kind}{i}' for i in range(2, 6)]
    assert [level.name for level in model.levels] == names
    assert [level.name for level in model.teacher.levels] == names
    assert [level.stride for level in model.levels] == [4, 8, 16, 32]


def test_predictions_are_the_students(task):
    build, _, data = task
    model = build().eval()
    with torch.no_grad():
        mine, theirs = (each.test_step(copy.deepcopy(data))
                        for each in (model, model.student))
    for a, b in zip(mine, theirs, strict=True):
        key = 'pred_score' if 'pred_score' in a else 'seg_logits'
        a, b = (getattr(each.get(key), 'data', each.get(key))
                for each in (a, b))
        assert torch.equal(a, b)


def test_teacher_levels_are_those_of_its_own_pass(task):
    build, _, data = task
    model = build()
    teacher = model.teacher.model
    images = model.data_preprocessor(copy.deepcopy(data), False)['inputs']
    pyramid = model.teacher.extract(images)
    with torch.no_grad():
        if model.levels[0].module == 'neck':
            expected = teacher.neck(teacher.backbone(images))
        else:
            backbone, expected = teacher.backbone, []
            maps = backbone.stem(images) if hasattr(
                backbone, 'stem') else backbone.relu(
                    backbone.norm1(backbone.conv1(images)))
            maps = backbone.maxpool(maps)
            for name in backbone.res_layers:
                maps = getattr(backbone, name)(maps)
                expected.append(maps)
        some = torch.tensor([2, 0])
        for i, maps in enumerate(expected):
            torch.testing.assert_close(pyramid.level(i, some), maps[some])
            torch.testing.assert_close(pyramid.level(i), maps)


def test_logits_are_those_of_the_models(task):
    build, _, data = task
    model = build(logit_loss=KL)
    data = model.data_preprocessor(copy.deepcopy(data), False)
    images = data['inputs']
    with torch.no_grad():
        torch.testing.assert_close(
            model.teacher.extract(images).logits(),
            model.teacher.model(images, mode='tensor'))
    model.eval()  # no dropout
    with model.tap.recording():
        model.student.loss(images, data['data_samples'])
    torch.testing.assert_close(
        model.tap.take().logits, model.student(images, mode='tensor'))


def described(build, data, *names, **overrides):
    """What is said of the batch in a step, by name, and the model."""
    model = build(selector=dict(POLICY, context=list(names)), **overrides)
    seen = {}
    observe = model.selector.observe
    model.selector.observe = lambda signals, choice: (
        seen.update({name: signals.describe(name) for name in names}),
        observe(signals, choice))[1]
    model.schedule.set(Phase('policy', 1.0), 0, 0.0)
    return seen, model, step(model, data)


def test_descriptors_tell_the_task_loss_by_image(task):
    build, _, data = task
    seen, model, scalars = described(
        build, data, 'student_loss', 'teacher_loss')
    assert seen['student_loss'].shape == (BATCH, )
    # The same in all images: as many labels in each.
    total = sum(value for key, value in scalars.items()
                if key in ('loss_task', 'decode.loss_ce'))
    # mmseg divides by all positions, those without a label too.
    rel = 0.3 if model.adapter.label_classes else 1e-4
    assert seen['student_loss'].mean().item() == pytest.approx(
        total.item(), rel=rel)
    assert scalars['descriptor_gflops'] > 0
    processed = model.data_preprocessor(copy.deepcopy(data), False)
    with torch.no_grad():
        logits = model.teacher.model(processed['inputs'], mode='tensor')
    targets = model.adapter.targets(processed['data_samples'])
    for i in range(BATCH):
        mine = per_image_loss(logits[i:i + 1], targets[i:i + 1])
        torch.testing.assert_close(
            seen['teacher_loss'][i:i + 1], mine, rtol=1e-4, atol=1e-5)


def test_descriptors_of_the_students_loss_run_its_head(task):
    """In iterations that do not update the student, and in evaluation."""
    build, _, data = task
    model = build(selector=dict(POLICY, context=['student_loss'])).train()
    model.schedule.set(Phase('policy', 1.0, student_every=2), 0, 0.0)
    before = copy.deepcopy(dict(model.student.named_parameters()))
    scalars = step(model, data)
    assert scalars['updates_student'] == 0
    for name, parameter in model.student.named_parameters():
        assert parameter.equal(before[name])
    model.eval()
    processed = model.data_preprocessor(copy.deepcopy(data), False)
    model.choose(processed['inputs'], processed['data_samples'])


def test_the_logit_loss_pays_for_the_head_that_both_run(task):
    build, _, data = task
    *_, scalars = described(build, data, 'teacher_entropy', logit_loss=KL)
    assert scalars['logit_gflops'] > 0 and scalars['descriptor_gflops'] == 0


def test_objects_are_not_known_without_boxes(task):
    build, _, _ = task
    for name in 'objects', 'teacher_detections':
        with pytest.raises(ValueError, match=(
                f"model.selector: the descriptor '{name}' .*accepted for "
                '(segmentation|classification): .*teacher_entropy')):
            build(selector=dict(POLICY, context=[name]))


def test_label_maps_are_described_where_there_are_some(task):
    build, _, data = task
    names = 'classes', 'largest_class', 'class_entropy', 'boundary'
    if not build().adapter.label_classes:
        with pytest.raises(ValueError, match='needs a class for each pixel'):
            build(selector=dict(POLICY, context=list(names)))
        return
    seen, *_ = described(build, data, *names)
    for i, sample in enumerate(data['data_samples']):
        labels = sample.gt_sem_seg.data[0, 8:]
        shares = labels.flatten().bincount(minlength=CLASSES) / labels.numel()
        assert seen['classes'][i] == (shares > 0).sum()
        assert seen['largest_class'][i].item() == pytest.approx(
            shares.max().item())


@pytest.mark.parametrize('loss', ['KLLoss', 'DKDLoss', 'DISTLoss'])
def test_logits_and_features_combine(task, loss):
    build, _, data = task
    model = build(logit_loss=dict(type=f'mmrlkd.{loss}'), logit_weight=0.5)
    scalars = step(model, data)
    torch.testing.assert_close(
        scalars['loss_logits'], 0.5 * scalars['distill.logits'])
    assert scalars['loss_distill'] > 0 and scalars['logit_gflops'] > 0
    total = sum(value for key, value in scalars.items()
                if 'loss' in key and key != 'loss'
                and not key.startswith('policy.'))
    torch.testing.assert_close(scalars['loss'], total)


def test_vanilla_distillation_needs_no_levels(task):
    build, student, data = task
    model = build(
        selector=dict(type='mmrlkd.NoneSelector'), logit_loss=KL)
    assert not model.distils and model.teacher is not None
    scalars = step(model, data)
    assert scalars['loss_logits'] > 0 and 'loss_distill' not in scalars
    assert not any('teacher' in name for name, _ in model.named_parameters())
    MODELS.build(student).load_state_dict(model.state_dict(), strict=True)


def test_its_gradient_is_that_of_the_loss(task):
    """… and of nothing else: a student without task loss learns by it."""
    build, _, data = task
    model = build(
        selector=dict(type='mmrlkd.NoneSelector'), logit_loss=KL).train()
    data = model.data_preprocessor(copy.deepcopy(data), False)
    torch.manual_seed(0)
    losses = model.loss(data['inputs'], data['data_samples'])
    last = (model.adapter.logit_layer if isinstance(
        model.adapter.logit_layer, nn.Conv2d) else model.student.head.fc)
    (mine, ) = torch.autograd.grad(losses['loss_logits'], last.weight)
    torch.manual_seed(0)
    with model.tap.recording():
        model.student.loss(data['inputs'], data['data_samples'])
    logits = model.tap.take().logits
    wanted = model.logit_distillation.loss(
        logits, model.teacher.extract(data["inputs"]).logits())
    (expected, ) = torch.autograd.grad(wanted, last.weight)
    torch.testing.assert_close(mine, expected)
    assert mine.abs().sum() > 0


# -- annotations ---------------------------------------------------------------


def test_targets_of_a_segmentor_are_its_label_maps():
    init_default_scope('mmseg')
    adapter = adapt(MODELS.build(segmentor(4)), 'student')
    samples = segmentation_batch()
    targets = adapter.targets(samples)
    assert targets.shape == (BATCH, SIZE, SIZE)
    assert (targets[:, :8] == -1).all() and (targets[:, 8:] >= 0).all()
    del samples[0].gt_sem_seg
    assert adapter.targets(samples) is None


def test_targets_of_a_classifier_are_its_labels():
    init_default_scope('mmpretrain')
    adapter = adapt(MODELS.build(classifier(4)), 'student')
    samples = classification_batch()
    assert adapter.targets(samples).tolist() == [0, 1, 2, 3]
    mixed = [copy.deepcopy(sample).set_gt_score(
        torch.eye(CLASSES)[5] * 0.7 + torch.eye(CLASSES)[i] * 0.3)
        for i, sample in enumerate(samples)]
    assert adapter.targets(mixed).tolist() == [5] * BATCH
    several = copy.deepcopy(samples)
    several[0].set_gt_label([0, 1])
    assert adapter.targets(several) is None


# -- what cannot work ------------------------------------------------------------


def test_other_classes_are_refused(task):
    build, student, _ = task
    other = copy.deepcopy(student)
    (other.decode_head if 'decode_head' in other else other.head
     ).num_classes = 7
    with pytest.raises(ValueError, match='student has 7 classes and the '
                       'teacher 6'):
        build(student=other, logit_loss=KL)


def test_a_detector_has_no_logits(build_distiller):
    with pytest.raises(ValueError, match=r'logit_loss is a mmrlkd.KLLoss, but '
                       r'the student \(RetinaNet, detection\)'):
        build_distiller(logit_loss=KL)


def test_a_teacher_of_another_task_is_refused(task, tiny_teacher):
    build, _, _ = task
    with pytest.raises(ValueError, match='teacher is a model for detection'):
        build(teacher=tiny_teacher)


@pytest.mark.parametrize('weight', [-1.0, float('nan')])
def test_a_wrong_weight_is_refused(build_distiller, weight):
    with pytest.raises(ValueError, match='logit_weight='):
        build_distiller(logit_weight=weight)


# -- which levels look at which --------------------------------------------------


@pytest.fixture
def pair(tiny_student, tiny_teacher, build_distiller):
    """Change the models of a detection pair, then build it."""

    def build(student=(), teacher=(), teacher_levels=None, **overrides):
        for model, changes in ((tiny_student, student),
                               (tiny_teacher['config'], teacher)):
            model.merge_from_dict(dict(changes)) if hasattr(
                model, 'merge_from_dict') else model.update(dict(changes))
        one = dict(config=tiny_teacher['config'], checkpoint=None)
        if teacher_levels is not None:
            one['levels'] = teacher_levels
        return build_distiller(teacher=one, **overrides)

    return build


def names(levels):
    return [level.name for level in levels]


def fpn(width, fpn_width, **changes):
    return dict(type='FPN', in_channels=[width * 2**i for i in range(4)],
                out_channels=fpn_width, **changes)


def test_levels_that_both_have(pair):
    """P3 to P7 beside P2 to P5."""
    model = pair(student=dict(neck=fpn(
        4, 8, num_outs=5, start_level=1, add_extra_convs='on_output')),
        levels=None)
    assert names(model.levels) == ['P3', 'P4', 'P5']
    assert names(model.teacher.levels) == ['P3', 'P4', 'P5']


def test_a_named_level_must_have_a_partner(pair):
    with pytest.raises(ValueError, match='levels names P6, for which the '
                       'teacher'):
        pair(student=dict(neck=fpn(4, 8, num_outs=5)), levels=('P5', 'P6'))


def test_stages_learn_from_stages_or_what_is_named(pair):
    model = pair(levels=('C2', 'C5'))
    assert names(model.teacher.levels) == ['C2', 'C5']
    model = pair(levels=('C2', 'P5'), teacher_levels=('P2', 'P4'))
    assert names(model.teacher.levels) == ['P2', 'P4']


@pytest.mark.parametrize('levels', [None, ('P3', 'P4')])
def test_a_neck_learns_from_stages_where_there_is_no_other(levels):
    init_default_scope('mmseg')
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=segmentor(4, neck=True),
        teacher=dict(config=segmentor(8), checkpoint=None), levels=levels,
        selector=dict(type='mmrlkd.UniformSelector')))
    expected = ['C2', 'C3', 'C4', 'C5'] if levels is None else ['C3', 'C4']
    assert names(model.teacher.levels) == expected


@pytest.mark.parametrize(('levels', 'theirs', 'message'), [
    (None, ('P2', ), 'which must be given, too'),
    (('P2', 'P3'), ('P2', ), 'one of the teacher'),
    (('P2', ), ('P9', ), "teacher.levels names 'P9', which the teacher"),
    (('P2', ), ('Q2', ), "teacher.levels names 'Q2'"),
    (('P2', 'P3'), ('P3', 'P2'), 'teacher.levels=.* is not in order'),
])
def test_teacher_levels_that_do_not_match_are_refused(pair, levels, theirs, message):
    with pytest.raises(ValueError, match=message):
        pair(levels=levels, teacher_levels=theirs)


def test_a_student_alone_has_no_levels_but_could(build_distiller):
    model = build_distiller(
        levels=None, teacher=None, selector=dict(type='mmrlkd.NoneSelector'))
    assert model.levels == ()
    assert names(choose_levels(model.adapter, None)) == [
        'P2', 'P3', 'P4', 'P5']


# -- transformers ----------------------------------------------------------------


def swin(width):
    return ConfigDict(
        type='ImageClassifier', _scope_='mmpretrain',
        data_preprocessor=classifier(4).data_preprocessor,
        backbone=dict(
            type='SwinTransformer', img_size=64, window_size=2,
            drop_path_rate=0.0, arch=dict(
                embed_dims=width, depths=[1, 1, 1, 1],
                num_heads=[1, 1, 2, 2])),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES,
                  in_channels=8 * width,
                  loss=dict(type='CrossEntropyLoss')))


@pytest.mark.parametrize('frozen', [False, True])
def test_gradients_at_maps_that_tokens_show(frozen):
    """The alignment of Swin's stages is that of its tokens."""
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=swin(8),
        teacher=dict(config=swin(16), checkpoint=None),
        selector=dict(POLICY, reward=dict(type='mmrlkd.AlignmentReward'))))
    assert names(model.levels) == ['C2', 'C3', 'C4', 'C5']
    model.student.backbone.requires_grad_(not frozen)
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    with model.tap.recording(leaves=True):
        losses = model.student.loss(images, classification_batch())
    maps = model.tap.take()
    assert [m.shape[1:] for m in maps.levels] == [
        (8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    part = model.distillation
    found = BatchSignals(
        part.compare(maps.levels, model.teacher.extract(images), False),
        maps, model.levels, model.adapter,
        losses['loss']).alignment()
    assert found.shape == (BATCH, 4) and (found != 0).all()


def test_plain_distillation_of_networks_without_stages():
    init_default_scope('mmpretrain')
    vit = ConfigDict(
        type='ImageClassifier', _scope_='mmpretrain',
        data_preprocessor=classifier(4).data_preprocessor,
        backbone=dict(type='VisionTransformer', img_size=256, patch_size=64,
                      arch=dict(embed_dims=8, num_layers=1, num_heads=1,
                                feedforward_channels=8)),
        head=dict(type='VisionTransformerClsHead', num_classes=CLASSES,
                  in_channels=8, loss=dict(type='CrossEntropyLoss')))
    config = dict(
        type='mmrlkd.PyramidDistiller', student=classifier(4),
        teacher=dict(config=vit, checkpoint=None), logit_loss=KL)
    model = MODELS.build(dict(
        config, selector=dict(type='mmrlkd.NoneSelector')))
    losses = model.train().loss(
        torch.randn(BATCH, 3, 256, 256), classification_batch())
    assert losses['loss_logits'] > 0
    with pytest.raises(ValueError, match='teacher has a backbone .Vision'):
        MODELS.build(dict(config, selector=dict(type='mmrlkd.UniformSelector')))


# -- what libraries do to a model ------------------------------------------------


def test_boxes_are_refused_where_there_are_none():
    init_default_scope('mmpretrain')
    with pytest.raises(ValueError, match='boxes of the objects, which '
                       'classification does not have'):
        MODELS.build(dict(
            type='mmrlkd.PyramidDistiller', student=classifier(4),
            teacher=dict(config=classifier(8), checkpoint=None),
            loss=dict(type='mmrlkd.FGDLoss'),
            selector=dict(type='mmrlkd.UniformSelector')))


def test_hooks_that_look_for_a_detector_find_the_student(build_distiller):
    model = build_distiller()
    assert model.detector is model.student
    assert not any('detector' in key for key in model.state_dict())


def test_keys_of_the_whole_model_load_too(build_distiller):
    """mmdet's SyncNormHook loads what ``named_modules`` names."""
    model = build_distiller()
    own = {f'student.{key}': value + 1
           for key, value in model.state_dict().items()
           if key.endswith('running_mean')}
    model.load_state_dict(own, strict=False)
    assert all(torch.equal(model.state_dict()[key[8:]], value)
               for key, value in own.items())


def test_weights_of_an_older_version_load(tmp_path):
    """Swin's final norm had another name."""
    init_default_scope('mmpretrain')
    state = MODELS.build(swin(16)).state_dict()
    old = {key.replace('backbone.norm3.', 'backbone.norm.'): value
           for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save({'state_dict': old}, tmp_path / 'old.pth')
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=swin(8), selector=dict(
            type='mmrlkd.UniformSelector'),
        teacher=dict(config=swin(16), checkpoint=str(tmp_path / 'old.pth'))))
    assert torch.equal(
        model.teacher.model.backbone.norm3.weight, state['backbone.norm3.weight'])


def multi_label(width):
    cfg = classifier(width)
    cfg.head = dict(type='MultiLabelLinearClsHead', num_classes=CLASSES,
                    in_channels=8 * width)
    return cfg


def binary(width):
    cfg = segmentor(width)
    cfg.decode_head.update(
        num_classes=2, out_channels=1, threshold=0.5,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True))
    return cfg


def each_class(width):
    cfg = segmentor(width)
    cfg.decode_head.loss_decode = [
        dict(type='CrossEntropyLoss', use_sigmoid=True),
        dict(type='DiceLoss', use_sigmoid=True)]
    return cfg


SIGMOIDS = [('mmpretrain', multi_label), ('mmseg', binary),
            ('mmseg', each_class)]


def logit_pair(student, teacher, loss):
    return MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=student,
        teacher=dict(config=teacher, checkpoint=None),
        selector=dict(type='mmrlkd.NoneSelector'), logit_loss=loss))


@pytest.mark.parametrize('scope, make', SIGMOIDS)
def test_logits_of_sigmoids_are_compared_class_by_class(scope, make):
    init_default_scope(scope)
    loss = logit_pair(make(4), make(8), KL).logit_distillation.loss
    classes = 1 if make is binary else CLASSES
    student, teacher = torch.randn(2, 3, classes)
    p, q = (torch.sigmoid(each / 2) for each in (teacher, student))
    coins = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(
        loss(student, teacher), 4 * coins.sum(dim=1).mean(),
        rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('scope, make', SIGMOIDS)
@pytest.mark.parametrize('loss', ['DKDLoss', 'DISTLoss'])
def test_losses_of_a_softmax_are_refused_for_sigmoids(scope, make, loss):
    init_default_scope(scope)
    with pytest.raises(ValueError, match=(
            f'logit_loss is a {loss}, .* sigmoid for each class .*; accepted: '
            'KLLoss')):
        logit_pair(make(4), make(8), dict(type=f'mmrlkd.{loss}'))


def test_a_softmax_does_not_learn_from_sigmoids():
    init_default_scope('mmpretrain')
    with pytest.raises(ValueError, match=(
            "the student's head has a softmax and the teacher's a sigmoid for "
            'each class; accepted: the same of both')):
        logit_pair(classifier(4), multi_label(8), KL)
    assert not logit_pair(
        classifier(4), classifier(8), KL).logit_distillation.loss.sigmoid
