"""The distiller is its student to everyone else."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.runner.checkpoint import load_state_dict

from mmrlkd.distillation.level_losses import Work
from mmrlkd.distillation.report import describe
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase, Selection

LEVELS = ('P2', 'P3', 'P4', 'P5')
POLICY = dict(type='mmrlkd.PolicySelector', rollout_batches=1,
              policy=dict(type='mmrlkd.LSTMPolicy', hidden=16),
              learner=dict(type='mmrlkd.PPO', epochs=1, minibatches=1))


def optimizer_of(model, lr=0.01):
    return build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(
            type='SGD', lr=lr, momentum=0.9, weight_decay=0.01)))


def snapshot(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def assert_same(before, after):
    assert before.keys() == after.keys()
    for key in before:
        assert torch.equal(before[key], after[key]), key


# -- the student's keys, and nothing hidden in them ----------------------------


def test_state_dict_is_the_students(build_distiller, tiny_student):
    distiller = build_distiller()
    plain = MODELS.build(tiny_student)
    plain.load_state_dict(distiller.state_dict(), strict=True)
    assert_same(plain.state_dict(), distiller.state_dict())


@pytest.mark.parametrize('load', [
    lambda model, state: model.load_state_dict(state, strict=True),
    lambda model, state: load_state_dict(model, state, strict=True),
], ids=['torch', 'mmengine'])
def test_a_plain_checkpoint_loads_strictly(build_distiller, tiny_student, load):
    plain = MODELS.build(tiny_student)
    distiller = build_distiller()
    links = snapshot(distiller.distillation.links)
    load(distiller, plain.state_dict())
    assert_same(plain.state_dict(), distiller.state_dict())
    assert_same(links, snapshot(distiller.distillation.links))


def test_a_missing_weight_is_still_missing(build_distiller, tiny_student):
    state = MODELS.build(tiny_student).state_dict()
    del state['backbone.conv1.weight']
    with pytest.raises(RuntimeError, match=r'backbone\.conv1\.weight'):
        build_distiller().load_state_dict(state, strict=True)


def test_optimizer_sees_student_and_links_only(build_distiller):
    distiller = build_distiller(selector=POLICY)
    mine = {id(p) for p in distiller.parameters()}
    expected = {id(p) for p in distiller.student.parameters()}
    expected |= {id(p) for p in distiller.distillation.links.parameters()}
    assert mine == expected
    hidden = [distiller.distillation.teacher, distiller.selector]
    assert not mine & {id(p) for m in hidden for p in m.parameters()}


def test_ema_shares_the_teacher_and_saves_plain_keys(
        build_distiller, tiny_student, detection_batch):
    distiller = build_distiller(selector=POLICY)
    ema = ExponentialMovingAverage(distiller, update_buffers=True)
    teacher = snapshot(distiller.distillation.teacher)
    assert ema.module.distillation.teacher is distiller.distillation.teacher
    optimizer = optimizer_of(distiller)
    distiller.train()
    for _ in range(2):
        distiller.train_step(detection_batch, optimizer)
        ema.update_parameters(distiller)
    assert_same(teacher, snapshot(distiller.distillation.teacher))
    plain = MODELS.build(tiny_student)
    plain.load_state_dict({
        key.removeprefix('module.'): value
        for key, value in ema.state_dict().items() if key != 'steps'
    }, strict=True)


def test_to_moves_the_unregistered_teacher_and_policy(build_distiller):
    distiller = build_distiller(selector=POLICY).double()
    hidden = [distiller.distillation.teacher, distiller.selector.policy]
    for module in hidden:
        assert all(p.dtype == torch.float64 for p in module.parameters())


# -- the teacher is left alone --------------------------------------------------


def test_teacher_stays_as_loaded(build_distiller, tiny_teacher, detection_batch):
    distiller = build_distiller(
        selector=POLICY, teacher=dict(tiny_teacher, fold=False))
    saved = torch.load(tiny_teacher['checkpoint'], weights_only=True)['state_dict']

    def untouched():
        teacher = distiller.distillation.teacher
        assert_same(saved, snapshot(teacher.model))
        assert not any(m.training for m in teacher.modules())
        assert not any(p.requires_grad for p in teacher.parameters())

    untouched()
    distiller.init_weights()
    untouched()
    distiller.train()
    optimizer = optimizer_of(distiller)
    for _ in range(3):
        distiller.train_step(detection_batch, optimizer)
    untouched()


def test_no_teacher_runs_for_the_student_alone(
        build_distiller, tiny_student, detection_batch):
    alone = build_distiller(
        teacher=None, selector=dict(type='mmrlkd.NoneSelector'))
    plain = MODELS.build(tiny_student)
    plain.load_state_dict(alone.state_dict())
    for model in (alone, plain):
        model.train()
        model.train_step(copy.deepcopy(detection_batch), optimizer_of(model))
    assert_same(plain.state_dict(), alone.state_dict())


def test_unselected_levels_run_no_output_convolution(
        build_distiller, detection_batch):
    distiller = build_distiller(selector=dict(
        type='mmrlkd.FixedSelector', levels=['P3', 'P5']))
    ran = []
    for i, conv in enumerate(
            distiller.distillation.teacher.model.neck.fpn_convs):
        conv.register_forward_hook(lambda *_, i=i: ran.append(i))
    distiller.train()
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    assert ran == [1, 3]
    assert log['levels_per_image'] == 2
    assert log['distill_cost'] == 2.5


def test_weight_zero_distils_nothing(build_distiller, tiny_student, detection_batch):
    distiller = build_distiller(loss_weight=0.0)
    plain = MODELS.build(tiny_student)
    plain.load_state_dict(distiller.state_dict())
    for model in (distiller, plain):
        model.train()
        model.train_step(copy.deepcopy(detection_batch), optimizer_of(model))
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(value, distiller.state_dict()[key])


def test_predictions_are_the_students(
        build_distiller, tiny_student, detection_batch):
    distiller = build_distiller().eval()
    plain = MODELS.build(tiny_student).eval()
    plain.load_state_dict(distiller.state_dict())
    with torch.no_grad():
        mine = distiller.val_step(copy.deepcopy(detection_batch))
        theirs = plain.val_step(copy.deepcopy(detection_batch))
    for a, b in zip(mine, theirs):
        assert torch.equal(a.pred_instances.scores, b.pred_instances.scores)


# -- phases ---------------------------------------------------------------------


def test_between_updates_the_student_does_not_move(
        build_distiller, detection_batch):
    distiller = build_distiller(selector=POLICY)
    distiller.train()
    optimizer = optimizer_of(distiller)
    phase = Phase('policy', 1.0, student_every=3, freeze_backbone=True)
    policy = snapshot(distiller.selector.policy)
    backbone = snapshot(distiller.student.backbone)
    for iteration in range(3):
        before = {k: v.clone() for k, v in distiller.named_parameters()}
        distiller.schedule.set(phase, iteration, progress=0.0)
        log = distiller.train_step(detection_batch, optimizer)
        moved = {k for k, v in distiller.named_parameters()
                 if not torch.equal(v, before[k])}
        assert log['updates_student'] == (iteration == 2)
        assert bool(moved) == (iteration == 2)
        assert 'policy.entropy' in log
    assert_same(backbone, snapshot(distiller.student.backbone))
    assert any(not torch.equal(v, policy[k])
               for k, v in distiller.selector.policy.state_dict().items())

    distiller.schedule.set(Phase('finetune', 1.0), 0, progress=0.5)
    assert distiller.student.backbone.training
    assert all(p.requires_grad for p in distiller.student.backbone.parameters())


def test_phases_that_do_not_choose_distil_all_levels(
        build_distiller, detection_batch):
    distiller = build_distiller(selector=POLICY, budget=1.0)
    distiller.train()
    distiller.schedule.set(Phase('pretrain', 1.0, choose=False, learn_every=0), 0, 0.0)
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    assert log['levels_per_image'] == 4
    distiller.schedule.set(Phase('policy', 1.0), 0, 0.0)
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    assert log['distill_cost'] <= 1.0


@pytest.mark.parametrize('reward', [
    'ResidualReward', 'AlignmentReward', 'LookaheadReward',
    'PaperLiteralReward'])
def test_levels_never_selected_have_a_unit_too(
        build_distiller, detection_batch, reward):
    distiller = build_distiller(budget=0.5, selector=dict(
        POLICY, reward=dict(type=f'mmrlkd.{reward}')))
    distiller.train()
    distiller.train_step(detection_batch, optimizer_of(distiller))
    assert (distiller.distillation.running_mean > 0).all()


class SomeLosses:
    """What :meth:`Distillation.track` sees of a batch's losses (B, L)."""

    def __init__(self, losses, known, computed_all):
        self._losses = losses.where(known, 0.)
        self.known = known
        self.computed_all = computed_all

    def values(self):
        return self._losses


def test_the_outcome_does_not_move_the_units(build_distiller):
    """A policy that takes P2 where its loss is above the median, and sees all
    losses in one iteration of eight: the mean of the selected alone is 1.5."""
    part = build_distiller().distillation
    for step in range(400):
        losses = 2 * torch.rand(64, 4)
        learns = step % 8 == 0
        known = torch.ones(64, 4, dtype=torch.bool)
        if not learns:
            known[:, 0] = losses[:, 0] > 1
        part.track(SomeLosses(losses, known, learns), by_image=True)
    torch.testing.assert_close(
        part.running_mean, torch.ones(4), rtol=0, atol=0.08)


def test_what_random_levels_show_is_a_fair_sample(build_distiller):
    part = build_distiller().distillation
    for _ in range(200):
        part.track(SomeLosses(2 * torch.rand(64, 4), torch.rand(64, 4) < 0.5,
                              computed_all=False))
    torch.testing.assert_close(
        part.running_mean, torch.ones(4), rtol=0, atol=0.08)


@pytest.mark.parametrize(('selector', 'learn_every', 'moves'), [
    (POLICY, 1, True), (POLICY, 0, False),
    (dict(type='mmrlkd.GreedySelector'), 0, True),
    (dict(type='mmrlkd.UniformSelector'), 0, True)])
def test_who_moves_the_units(
        build_distiller, detection_batch, selector, learn_every, moves):
    distiller = build_distiller(selector=selector)
    distiller.train()
    distiller.schedule.set(
        Phase('policy', 1.0, learn_every=learn_every), 0, 0.0)
    distiller.train_step(detection_batch, optimizer_of(distiller))
    mean = distiller.distillation.running_mean
    assert (mean > 0).all() if moves else (mean == 0).all()


# -- strength ------------------------------------------------------------------


def test_what_is_not_selected_is_not_made_up_for(
        build_distiller, detection_batch):
    """P4 alone counts four times as much where weights are normalised."""
    losses = []
    for normalize in 'image', 'none':
        distiller = build_distiller(normalize=normalize, selector=dict(
            type='mmrlkd.FixedSelector', levels=['P4']))
        assert distiller.distillation.space.normalize == normalize
        data = distiller.data_preprocessor(
            copy.deepcopy(detection_batch), True)
        losses.append(distiller(**data, mode='loss')['loss_distill'])
    torch.testing.assert_close(losses[0], 4 * losses[1])


@pytest.mark.parametrize('balancer', [
    None, dict(type='mmrlkd.GradNorm'), dict(type='mmrlkd.PCGrad')])
def test_a_batch_may_be_left_out_altogether(
        build_distiller, detection_batch, balancer):
    distiller = build_distiller(
        min_levels=0, balancer=balancer,
        selector=dict(type='mmrlkd.RandomSelector', cost=0.))
    distiller.train()
    before = snapshot(distiller.distillation.links)
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    assert log['loss'].isfinite() and log['skipped_updates'] == 0
    assert log['distill_cost'] == log['levels_per_image'] == 0
    assert_same(before, snapshot(distiller.distillation.links))


def test_the_units_of_rewards_are_resumed(build_distiller, detection_batch):
    one, two = build_distiller(selector=POLICY), build_distiller(selector=POLICY)
    one.train()
    one.train_step(detection_batch, optimizer_of(one))
    assert one.selector.reward.stream.mean > 0
    two.load_run_state(copy.deepcopy(one.run_state()))
    assert_same(one.selector.reward.state_dict(),
                two.selector.reward.state_dict())
    old = copy.deepcopy(one.run_state())
    del old['selector']['reward']  # of a run before there were any
    two.load_run_state(old)


def test_an_iteration_without_update_leaves_statistics(
        build_distiller, tiny_student, detection_batch):
    tiny_student.neck.norm_cfg = dict(type='BN')
    distiller = build_distiller(selector=POLICY)
    distiller.train()
    before = snapshot(distiller)
    distiller.schedule.set(Phase('policy', 1.0, student_every=5), 0, progress=0.0)
    distiller.train_step(detection_batch, optimizer_of(distiller))
    assert_same(before, snapshot(distiller))


def test_alignment_at_the_stages_of_a_frozen_backbone(
        build_distiller, detection_batch):
    distiller = build_distiller(
        levels=('C3', 'C5'), costs='pixels', selector=dict(
            POLICY, reward=dict(type='mmrlkd.AlignmentReward')))
    distiller.train()
    phase = Phase('policy', 1.0, freeze_backbone=True)
    distiller.schedule.set(phase, 0, progress=0.0)
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    assert log['policy.dropped_episodes'] == 0
    assert torch.isfinite(log['reward'])


def test_levels_that_the_students_config_freezes_are_refused(
        build_distiller, tiny_student):
    tiny_student.backbone.frozen_stages = 1
    for levels in ('P2', 'P5'), ('C3', 'C4'):
        build_distiller(levels=levels, costs='pixels').check_trainable()
    distiller = build_distiller(levels=('C2', 'C3'), costs='pixels')
    with pytest.raises(ValueError, match=(
            r"model\.levels has C2, and the student's config freezes all .*; "
            'accepted: levels without C2, or fewer frozen_stages')):
        distiller.init_weights()


# -- the work that is counted is the work that is done --------------------------


def test_flops_of_a_fixed_subset(build_distiller, detection_batch):
    distiller = build_distiller(selector=dict(
        type='mmrlkd.FixedSelector', levels=['P3', 'P5']))
    distiller.train()
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    flops = distiller.distillation.flops
    assert log['distill_gflops'].item() * 1e9 == pytest.approx(
        flops.levels[1] + flops.levels[3])
    assert log['reward_gflops'] == 0


def test_logged_flops_equal_a_count_by_hand(build_distiller):
    """Two for each multiply-add of the 3×3 output convolution (16 to 16
    channels) and of the 1×1 connector (8 to 16); backward twice its forward."""
    flops = build_distiller().distillation.flops
    for i, side in enumerate((64, 32, 16, 8)):
        assert flops.teacher[i] == 2 * 9 * 16 * 16 * side**2
        assert flops.forward[i] == 2 * 8 * 16 * side**2
        assert flops.backward[i] == 2 * flops.forward[i]
    assert flops.trunk > 2 * 8 * 16 * sum(s**2 for s in (64, 32, 16, 8))


def test_flops_of_a_reward_are_what_was_not_selected(
        build_distiller, detection_batch):
    distiller = build_distiller(selector=POLICY)
    distiller.train()
    flops = distiller.distillation.flops
    for every, selected in ((1, lambda t, f, b: t + f + b),
                            (2, lambda t, f, b: t + f)):
        distiller.schedule.set(
            Phase('policy', 1.0, student_every=every), 0, progress=0.0)
        log = distiller.train_step(detection_batch, optimizer_of(distiller))
        rates = [log[f'select.{name}'].item() for name in LEVELS]
        parts = list(zip(rates, flops.teacher, flops.forward, flops.backward))
        assert log['distill_gflops'].item() * 1e9 == pytest.approx(
            sum(r * selected(t, f, b) for r, t, f, b in parts), rel=1e-5)
        assert log['reward_gflops'].item() * 1e9 == pytest.approx(
            sum((1 - r) * (t + f) for r, t, f, b in parts), rel=1e-5, abs=1)


def test_maps_that_a_cache_had_are_no_work(build_distiller):
    """Of three images that selected a level, the teacher ran for one; the reward
    is not credited with the other two."""
    part = build_distiller(selector=POLICY).distillation
    selected = Work((3, 0, 0, 0), (3, 0, 0, 0), (3, 0, 0, 0))
    done = Work((1, 1, 0, 0), (4, 4, 4, 4), (3, 0, 0, 0))
    levels = torch.tensor([[True, False, False, False]] * 3 + [[False] * 4])
    log = describe(part, Selection(levels, levels.float()), torch.zeros(4),
                   selected, done, head=False)
    flops = part.flops
    assert log['distill_gflops'].item() * 4e9 == pytest.approx(
        flops.teacher[0] + 3 * flops.forward[0] + 3 * flops.backward[0])
    assert log['reward_gflops'].item() * 4e9 == pytest.approx(
        flops.teacher[1] + flops.forward[0] + 4 * sum(flops.forward[1:]))


@pytest.mark.parametrize('reward', ['AlignmentReward', 'LookaheadReward'])
def test_rewards_with_gradients_are_counted(
        build_distiller, detection_batch, reward):
    distiller = build_distiller(selector=dict(
        POLICY, reward=dict(type=f'mmrlkd.{reward}')))
    distiller.train()
    log = distiller.train_step(detection_batch, optimizer_of(distiller))
    flops = distiller.distillation.flops
    assert log['reward_gflops'].item() * 1e9 >= sum(flops.forward)


# -- numbers that are not finite ------------------------------------------------


def test_a_nan_changes_nothing(build_distiller, detection_batch):
    distiller = build_distiller(selector=POLICY)
    distiller.train()
    optimizer = optimizer_of(distiller)
    distiller.train_step(detection_batch, optimizer)
    before = snapshot(distiller)
    policy = snapshot(distiller.selector.policy)
    momentum = copy.deepcopy(optimizer.state_dict())
    mean = distiller.distillation.running_mean.clone()

    poisoned = copy.deepcopy(detection_batch)
    poisoned['inputs'] = [
        torch.full(i.shape, float('nan')) for i in poisoned['inputs']]
    log = distiller.train_step(poisoned, optimizer)

    assert log['skipped_updates'] == 1
    assert_same(before, snapshot(distiller))
    assert_same(policy, snapshot(distiller.selector.policy))
    assert torch.equal(mean, distiller.distillation.running_mean)
    for mine, theirs in zip(
            momentum['state'].values(), optimizer.state_dict()['state'].values()):
        assert torch.equal(mine['momentum_buffer'], theirs['momentum_buffer'])

    log = distiller.train_step(detection_batch, optimizer)
    assert torch.isfinite(log['loss'])


def test_too_many_nans_stop_the_run(build_distiller, detection_batch):
    distiller = build_distiller(max_skipped_updates=2)
    distiller.train()
    optimizer = optimizer_of(distiller)
    detection_batch['inputs'] = [
        torch.full(i.shape, float('nan')) for i in detection_batch['inputs']]
    distiller.train_step(copy.deepcopy(detection_batch), optimizer)
    with pytest.raises(FloatingPointError, match='max_skipped_updates=2'):
        distiller.train_step(copy.deepcopy(detection_batch), optimizer)


# -- what cannot work is refused in a sentence ----------------------------------


@pytest.mark.parametrize('overrides, sentence', [
    (dict(levels=()), 'levels is empty'),
    (dict(levels=('P2', 'Q3')), r"levels names 'Q3'; accepted"),
    (dict(levels=('P3', 'P2')), 'finest first'),
    (dict(levels=('P2', 'P7')), r"levels names 'P7', which the student .* "
                                r'accepted: C2, C3, C4, C5, P2, P3, P4, P5'),
    (dict(loss_weight=-1), 'loss_weight=-1'),
    (dict(loss_weight=float('nan')), 'loss_weight=nan'),
    (dict(budget=0.1), r'budget.*0\.1'),
    (dict(costs='gold'), "costs='gold' is not known; accepted: nominal"),
    (dict(costs=dict(P2=1)), r"costs names \['P2'\]"),
    (dict(costs=dict(P2=1, P3=1, P4=0, P5=1)), 'P4 costs 0'),
    (dict(teacher=None), 'teacher is None'),
    (dict(max_skipped_updates=0), 'max_skipped_updates=0'),
    (dict(min_levels=2), r'min_levels=2; accepted: an integer in \[0, 1\]'),
    (dict(min_levels=True), 'min_levels=True; accepted: an integer'),
    (dict(normalize='batch'), "normalize='batch'; accepted: 'image', 'none'"),
    (dict(selector=dict(type='mmrlkd.PolicySelector', reward=dict(
        type='mmrlkd.ResidualReward', level_values=[1.0, 2.0]))),
     'level_values=.*; accepted: 4 numbers'),
    (dict(selector=dict(type='mmrlkd.PolicySelector', reward=dict(
        type='mmrlkd.ResidualReward', efficiency=-1))), 'efficiency=-1'),
])
def test_impossible_arguments_are_refused(build_distiller, overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_distiller(**overrides)


def test_a_teacher_without_the_level(build_distiller, tiny_teacher):
    tiny_teacher['config']['neck'].update(num_outs=3, start_level=1)
    tiny_teacher['config']['bbox_head']['anchor_generator']['strides'] = [8, 16, 32]
    with pytest.raises(ValueError, match='levels names P2, for which the teacher'):
        build_distiller(teacher=dict(tiny_teacher, checkpoint=None))


def test_a_teacher_with_other_normalisation(build_distiller, tiny_teacher):
    tiny_teacher['config']['data_preprocessor']['mean'] = [0, 0, 0]
    with pytest.raises(ValueError, match=r'data_preprocessor\.mean is \[0'):
        build_distiller(teacher=tiny_teacher)


def test_a_teacher_of_another_task(build_distiller):
    classifier = dict(
        type='ImageClassifier', _scope_='mmpretrain',
        backbone=dict(type='ResNet', depth=18),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=512))
    with pytest.raises(ValueError, match='teacher is a model for classification'):
        build_distiller(teacher=dict(config=classifier, checkpoint=None))


@pytest.mark.parametrize('checkpoint, sentence', [
    ('nowhere.pth', r"teacher.checkpoint='nowhere.pth' \(relative to /.*\) is not"),
    (__file__, 'cannot be read'),
])
def test_a_wrong_checkpoint(build_distiller, tiny_teacher, checkpoint, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_distiller(teacher=dict(tiny_teacher, checkpoint=checkpoint))


def test_a_checkpoint_that_does_not_fit(build_distiller, tiny_teacher):
    state = torch.load(tiny_teacher['checkpoint'], weights_only=True)
    del state['state_dict']['backbone.conv1.weight']
    state['state_dict']['neck.fpn_convs.0.conv.weight'] = torch.zeros(1)
    torch.save(state, tiny_teacher['checkpoint'])
    with pytest.raises(ValueError, match=(
            r'2 of \d+ weights do not match, among them '
            r'backbone\.conv1\.weight \(missing\), neck\.fpn_convs\.0')):
        build_distiller(teacher=tiny_teacher)


def test_a_config_that_is_not_there(build_distiller, tiny_teacher):
    with pytest.raises(ValueError, match="teacher.config='nowhere.py'"):
        build_distiller(teacher=dict(tiny_teacher, config='nowhere.py'))


def test_training_refuses_random_weights(build_distiller, tiny_teacher):
    distiller = build_distiller(teacher=dict(tiny_teacher, checkpoint=None))
    with pytest.raises(ValueError, match='teacher.checkpoint is None'):
        distiller.init_weights()
