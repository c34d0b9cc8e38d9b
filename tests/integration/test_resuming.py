"""Where a resumed run stands, and what its one file holds."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrlkd.config.inspection import check_config
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.engine.run_state_hook import add_run_state_hook
from mmrlkd.registry import HOOKS

#: Three epochs of the student in five of the loop.
PHASES = [dict(name='pretrain', share=1 / 3),
          dict(name='policy', share=1 / 3, student_every=3),
          dict(name='finetune', share=1 / 3)]


class Note(Hook):
    """Writes down where each iteration stands; may end the run."""

    priority = 'LOWEST'

    def __init__(self, last=None):
        self.last = last
        self.seen = []
        self.rates = []

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        schedule = getattr(runner.model, 'schedule', None)
        self.seen.append((
            runner.epoch, batch_idx,
            schedule and schedule.phase.name, schedule and schedule.iteration))
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        if runner.iter + 1 == self.last:
            raise KeyboardInterrupt


@pytest.fixture
def noted(plain_config_text):
    """Run a config; what its iterations were. May be killed after one."""

    def run(cfg, resume=False, last=None):
        torch.manual_seed(99)
        cfg = copy.deepcopy(cfg)
        cfg.resume = resume
        cfg.experiment_name += f'_{torch.randint(2**31, ()).item()}' * resume
        note = Note(last)
        runner = Runner.from_cfg(cfg)
        runner.register_hook(note)
        if last is None:
            runner.train()
        else:
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        note.runner = runner
        return note

    return run


def by_iteration(cfg):
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    return cfg


def test_an_epoch_that_mmengine_repeats_keeps_its_phase(run_config, noted):
    """4 iterations an epoch, saved by iteration, killed after the sixth."""
    names = ['pretrain'] + ['policy'] * 3 + ['finetune']
    begins = [0, 1, 1, 1, 4]
    plan = [(epoch, batch, names[epoch], (epoch - begins[epoch]) * 4 + batch)
            for epoch in range(5) for batch in range(4)]
    settings = dict(phases=PHASES, total=3, by_epoch=True, validate=False)
    whole = noted(by_iteration(run_config('whole', **settings)))
    assert whole.seen == plan

    cfg = by_iteration(run_config('killed', **settings))
    assert noted(cfg, last=6).seen == plan[:6]
    again = noted(cfg, resume=True, last=16)  # of the loop's 22 then
    assert again.seen == plan[4:14]
    last = noted(cfg, resume=True)
    assert last.seen == plan[12:]
    # lr_factor=0.1 of the last phase counts once, however often it began.
    assert last.rates[-1] == pytest.approx(whole.rates[-1])

    plain = by_iteration(run_config(
        'plain', phases=None, by_epoch=True, validate=False))
    plain.train_cfg.max_epochs = 5
    plain.model = plain.model.student
    noted(plain, last=6)
    noted(plain, resume=True, last=16)
    alone = noted(plain, resume=True)
    assert [each[:2] for each in alone.seen] == [each[:2] for each in last.seen]
    assert alone.runner.iter == last.runner.iter


def test_a_phase_in_which_the_learning_rate_fell_is_repeated(
        run_config, noted):
    cfg = by_iteration(run_config(
        phases=PHASES[::2], total=2, by_epoch=True, param_scheduler=[]))
    cfg.custom_hooks[1].phases = [
        dict(phase, share=0.5) for phase in PHASES[::2]]
    first = noted(cfg, last=6)
    assert first.rates == pytest.approx([1e-3] * 4 + [1e-4] * 2)
    assert noted(cfg, resume=True).rates == pytest.approx([1e-4] * 4)


def test_schedules_by_epoch_follow_the_students_epochs(run_config, noted):
    cfg = run_config(
        phases=[dict(phase, lr_factor=1.0) for phase in PHASES], total=3,
        by_epoch=True, param_scheduler=[dict(
            type='MultiStepLR', by_epoch=True, milestones=[1, 2], gamma=0.1)])
    assert noted(cfg).rates == pytest.approx(
        [1e-3] * 4 + [1e-4] * 12 + [1e-5] * 4)


def plain_hook(cfg):
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=1, by_epoch=False)
    return cfg


@pytest.mark.parametrize('selector', [None, 'mmrlkd.GreedySelector'])
def test_mmengines_own_checkpoints_resume_bit_for_bit(
        run_config, train, tmp_path, leave, state_of, assert_same, selector):
    """In phases, or by a hook in default_hooks where there are none."""
    def config(name):
        cfg = plain_hook(run_config(name))
        if selector is not None:
            cfg.model.selector = dict(type=selector)
            cfg.custom_hooks = [dict(type='mmrlkd.SeedHook')]
            cfg.default_hooks.run_state = dict(type='mmrlkd.RunStateHook')
        return cfg

    whole = train(config('whole'))
    leave(tmp_path / 'killed', tmp_path / 'whole', 'iter_3')
    resumed = train(config('killed'), resume=True)
    assert_same(state_of(whole), state_of(resumed))
    saved = torch.load(tmp_path / 'whole/iter_3.pth', weights_only=True)
    assert 'links' in saved['mmrlkd']['distiller']


def test_a_runner_that_could_not_be_resumed_does_not_begin(
        run_config, train, tmp_path):
    cfg = plain_hook(run_config(phases=None))
    with pytest.raises(ValueError, match='default_hooks has no RunStateHook'):
        train(cfg)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_without_checkpoints_it_trains(run_config, train, tmp_path):
    cfg = run_config()
    cfg.default_hooks.checkpoint = None
    runner = train(cfg)
    assert runner.iter == 8
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_without_hooks_and_schedulers_it_trains_and_resumes(
        run_config, train, tmp_path):
    cfg = run_config(phases=None, param_scheduler=None, custom_hooks=None,
                     default_hooks=None)
    check_config(cfg)
    add_run_state_hook(cfg)
    runner = train(cfg)
    assert runner.iter == 8
    (saved, ) = (tmp_path / 'run').glob('*.pth')
    assert 'distiller' in torch.load(saved, weights_only=True)['mmrlkd']
    train(cfg, resume=True)


def split(checkpoint: Path) -> None:
    """A checkpoint and its ``.distill`` file, as versions before wrote them.
    """
    content = torch.load(checkpoint, weights_only=True)
    state = content.pop('mmrlkd')
    del state['lr_factor'], state['distiller']['settings']
    torch.save(dict(state, iter=content['meta']['iter']),
               checkpoint.with_suffix('.distill'))
    torch.save(content, checkpoint)


def test_files_of_older_versions_resume(
        run_config, train, tmp_path, leave, state_of, assert_same):
    whole = state_of(train(run_config('whole', validate=False)))
    for iteration in 3, 7:
        name = f'killed_{iteration}'
        leave(tmp_path / name, tmp_path / 'whole', f'iter_{iteration}')
        split(tmp_path / f'{name}/iter_{iteration}.pth')
        resumed = train(run_config(name, validate=False), resume=True)
        assert_same(whole, state_of(resumed))


def test_a_students_file_alone_is_not_resumed(run_config, train, tmp_path):
    cfg = run_config()
    train(cfg)
    path = tmp_path / 'run/iter_8.pth'
    split(path)
    path.with_suffix('.distill').unlink()
    with pytest.raises(ValueError, match=r"iter_8.pth has no 'mmrlkd'.* set "
                                         'load_from instead'):
        train(cfg, resume=True)


#: What of a model cannot change, and the sentence that says so.
CHANGES = [
    (dict(levels=('P3', 'P4', 'P5')),
     r"model\.levels is \['P3', 'P4', 'P5'\], and the run to be resumed had "
     r"\['P2', 'P3', 'P4', 'P5'\]"),
    (dict(loss=dict(type='mmrlkd.CWDLoss')),
     r"model\.loss\.type is 'CWDLoss', and .* had 'MSELoss'"),
    (dict(connector=dict(type='mmrlkd.MLPConnector')),
     r"model\.connector\.type is 'MLPConnector', and .* had 'ConvConnector'"),
    (dict(selector=dict(policy=dict(hidden=24))),
     r'model\.selector\.policy\.hidden is 24, and .* had 16'),
    (dict(selector=dict(policy=dict(type='mmrlkd.MLPPolicy'))),
     r"model\.selector\.policy\.type is 'MLPPolicy', and .* had 'LSTMPolicy'"),
    (dict(student=dict(neck=dict(out_channels=12),
                       bbox_head=dict(in_channels=12))),
     r'model\.student: bbox_head\.\S+ is \(8, 12, 3, 3\), and .* was '
     r'\(8, 8, 3, 3\)'),
]


def test_resuming_another_model_names_what_differs(run_config, train):
    cfg = run_config(validate=False)
    cfg.train_cfg.max_iters = 3
    train(cfg)
    for change, sentence in CHANGES:
        other = copy.deepcopy(cfg)
        other.merge_from_dict(dict(model=change))
        with pytest.raises(ValueError, match=sentence):
            train(other, resume=True)


CONTEXT = dict(
    type='mmrlkd.PolicySelector', context=['objects'],
    policy=dict(type='mmrlkd.MLPPolicy', hidden=16))


@pytest.mark.parametrize('change, sentence', [
    (dict(context=['crowding']),
     r"model\.selector\.context is \['crowding'\], and .* had \['objects'\]"),
    (dict(context=[]), r"model\.selector\.context is \[\], and .* had "
                       r"\['objects'\]"),
    (dict(reward=dict(signal='teacher_detections')),
     r"model\.selector\.reward\.signal is 'teacher_detections', and .* had "
     "'discrepancy'"),
])
def test_what_the_policy_was_shown_and_paid_for_stays(
        build_distiller, change, sentence):
    """Numbers of one width, of another meaning."""
    selector = dict(CONTEXT, reward=dict(
        type='mmrlkd.WorthReward', signal='discrepancy',
        level_values=[1., 1., 1., 1.]))
    state = build_distiller(selector=selector).run_state()
    changed = dict(selector, **{
        key: dict(selector[key], **value) if isinstance(value, dict) else value
        for key, value in change.items()})
    with pytest.raises(ValueError, match=sentence):
        build_distiller(selector=changed).load_run_state(state)
    controlled = [build_distiller(selector=dict(
        type='mmrlkd.ControlSelector', selector=each))
        for each in (selector, changed)]
    with pytest.raises(ValueError, match=sentence.replace(
            'selector', r'selector\.selector', 1)):
        controlled[1].load_run_state(controlled[0].run_state())


def test_what_may_change_on_resuming_does(run_config, train):
    cfg = run_config()
    train(cfg)
    cfg.model.loss_weight = 0.5
    cfg.model.selector.reward.efficiency = 0.9
    train(cfg, resume=True)


def test_distillation_may_end_before_training_does(
        run_config, plain_config_text, monkeypatch, logged, tmp_path):
    """Afterwards the loss is the student's and the teacher is not run."""
    plan = [dict(name='pretrain', share=0.5), dict(name='plain', share=0.5)]
    window = dict(log_processor=dict(type='LogProcessor', by_epoch=False,
                                     window_size=1), param_scheduler=[])
    cfg = run_config(phases=plan, total=4, **window)
    cfg.model.balancer = dict(type='mmrlkd.GradNorm')
    runner = Runner.from_cfg(cfg)
    extracted = []
    extract = Teacher.extract
    monkeypatch.setattr(
        Teacher, 'extract', lambda self, *batch: extracted.append(1) or extract(
            self, *batch))
    runner.train()
    assert len(extracted) == 2 and runner.iter == 4
    lines = logged(tmp_path / 'run')
    for key in ('loss_distill', 'levels_per_image', 'distill_gflops'):
        assert [line[key] > 0 for line in lines] == [True] * 2 + [False] * 2
    assert all(line['updates_student'] == 1 for line in lines)

    # The same student, batch and seed, without a distiller around it.
    plain = run_config('plain', phases=None, **window)
    plain.model = plain.model.student
    plain.train_cfg.max_iters = 4
    plain.load_from = str(tmp_path / 'run/iter_2.pth')
    alone = Runner.from_cfg(plain)
    alone.train_loop.dataloader_iterator.skip_iter(2)
    alone.train()
    other = logged(tmp_path / 'plain')
    assert other[0]['loss'] == lines[2]['loss']


def test_hooks_of_a_pair_keep_their_epochs_beside_phases(run_config, noted):
    @HOOKS.register_module()
    class SwitchAtEpoch(Hook):
        switched = []

        def __init__(self, action_epoch):
            self.action_epoch = action_epoch

        def before_train_epoch(self, runner):
            if runner.epoch + 1 == self.action_epoch:
                self.switched.append(runner.iter)
                runner.train_dataloader._iterator = None

    cfg = run_config(phases=PHASES, total=3, by_epoch=True)
    cfg.custom_hooks.append(dict(type='mmrlkd.SwitchAtEpoch', action_epoch=5))
    assert len(noted(cfg).seen) == 20
    assert SwitchAtEpoch.switched == [16]
