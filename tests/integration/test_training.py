"""Every phase, every kind of selector, saved and resumed."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

from mmrlkd.engine import atomic
from mmrlkd.registry import MODELS

REWARDS = ['ResidualReward', 'LookaheadReward', 'AlignmentReward',
           'PaperLiteralReward']


@pytest.mark.parametrize('reward', REWARDS)
def test_every_phase_runs(run_config, train, reward, tmp_path, logged):
    cfg = run_config(validate=False)
    cfg.model.selector.reward.type = f'mmrlkd.{reward}'
    runner = train(cfg)
    log = logged(tmp_path / 'run')
    assert len(log) == 8
    assert [line['updates_student'] for line in log] == [1, 1, 0, 1, 0, 1, 1, 1]
    assert [line['levels_per_image'] for line in log[:2]] == [4, 4]
    assert all(line['reward_gflops'] == 0 for line in log[:2])
    assert ['policy.approx_kl' in line for line in log] == [0] * 3 + [1] * 5
    assert runner.model.schedule.progress == pytest.approx(5 / 6)


@pytest.mark.parametrize('by_epoch', [False, True], ids=['iters', 'epochs'])
def test_resumed_is_uninterrupted_bit_for_bit(
        run_config, train, by_epoch, tmp_path, state_of, assert_same, leave):
    """Killed in each of the phases."""
    phases = [dict(name='pretrain', share=1 / 4),
              dict(name='policy', share=1 / 4, student_every=3),
              dict(name='finetune', share=1 / 2, learn_every=2)]
    settings = dict(phases=phases, total=4, by_epoch=by_epoch)
    whole = state_of(train(run_config('whole', **settings)))
    unit = 'epoch' if by_epoch else 'iter'
    for killed_after in 1, 3, 5:
        name = f'killed_{killed_after}'
        leave(tmp_path / name, tmp_path / 'whole', f'{unit}_{killed_after}')
        resumed = train(run_config(name, **settings), resume=True)
        assert_same(whole, state_of(resumed))


def test_checkpoints_are_plain(run_config, train, tmp_path, tiny_student):
    train(run_config())
    checkpoint = torch.load(tmp_path / 'run/iter_8.pth', weights_only=True)
    assert set(checkpoint['mmrlkd']) == {
        'distiller', 'local', 'logs', 'lr_factor'}
    plain = MODELS.build(tiny_student)
    plain.load_state_dict(checkpoint['state_dict'], strict=True)
    assert not any('teacher' in key or 'connector' in key
                   for key in checkpoint['state_dict'])


def test_a_student_loads_where_this_package_is_not(
        run_config, train, tmp_path, tiny_student):
    train(run_config())
    script = f'''
import sys
sys.modules['mmrlkd'] = None  # importing it fails
import torch
from mmengine.config import ConfigDict
{TORCHVISION}
from mmdet.registry import MODELS
import mmdet.models
model = MODELS.build(ConfigDict({tiny_student.to_dict()!r}))
state = torch.load({str(tmp_path / 'run/iter_8.pth')!r}, weights_only=True)
model.load_state_dict(state['state_dict'], strict=True)
'''
    subprocess.run([sys.executable, '-c', script], check=True,
                   capture_output=True, timeout=120)


#: What ``mmrlkd.compat`` repairs on a CPU-only torch, by hand.
TORCHVISION = '''
library = torch.library.Library('torchvision', 'FRAGMENT')
for name in ('nms', 'qnms'):
    library.define(f'{name}(Tensor a, Tensor b, float c) -> Tensor')
'''


def test_a_run_killed_while_saving_resumes_bit_for_bit(
        run_config, train, tmp_path, monkeypatch, state_of, assert_same):
    """Die at the n-th file of a save; what stands resumes to the same end."""

    def config(name):
        cfg = run_config(name, validate=False)
        cfg.default_hooks.checkpoint.update(interval=3, max_keep_ckpts=1)
        return cfg

    class Killed(BaseException):
        pass

    write = atomic.os.replace

    def dying(deaths):
        written = count(1)

        def replace(source, target):
            if next(written) == deaths:
                raise Killed
            write(source, target)

        return replace

    expected = state_of(train(config('whole')))
    for deaths in range(1, 5):
        name = f'death_{deaths}'
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(atomic.os, 'replace', dying(deaths))
            train(config(name))
        assert_same(expected, state_of(train(config(name), resume=True)))
        assert not list((tmp_path / name).glob('.*')), 'temporary files are left'


def test_the_best_checkpoint_outlives_a_kill(run_config, train, tmp_path):
    cfg = run_config()
    cfg.default_hooks.checkpoint.update(
        save_best='coco/bbox_mAP', max_keep_ckpts=1)
    train(cfg)
    best = list((tmp_path / 'run').glob('best_*.pth'))
    assert len(best) == 1
    torch.load(best[0], weights_only=True)
    assert len(list((tmp_path / 'run').glob('iter_*.pth'))) == 1


def test_ema_runs_and_resumes(
        run_config, train, tmp_path, state_of, assert_same):
    ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage',
               momentum=0.1)

    def with_ema(name):
        cfg = run_config(name)
        cfg.custom_hooks.append(ema)
        return cfg

    whole = train(with_ema('whole'))
    killed = tmp_path / 'killed'
    killed.mkdir()
    (killed / 'iter_3.pth').write_bytes(
        (tmp_path / 'whole/iter_3.pth').read_bytes())
    resumed = train(with_ema('killed'), resume=True)
    assert_same(state_of(whole), state_of(resumed))
    mine, theirs = (
        torch.load(tmp_path / f'{name}/iter_8.pth', weights_only=True)
        for name in ('whole', 'killed'))
    for part in ('state_dict', 'ema_state_dict'):
        assert_same(mine[part], theirs[part])


@pytest.mark.parametrize('phases, sentence', [
    ([], 'phases is empty'),
    ([dict(name='warmup', share=1)],
     "phases: name='warmup'; accepted: 'pretrain', 'policy'"),
    ([dict(name='pretrain', share=0)],
     r"phases\['pretrain'\]: share=0; accepted: a number in \(0, 1\]"),
    ([dict(name='pretrain')], r"phases\['pretrain'\]: share=None"),
    ([dict(name='pretrain', share=0.2)], 'the shares sum to 0.2'),
    ([dict(name='pretrain', share=1 / 7)] * 7, '7 phases for a schedule of 6'),
    ([dict(name='policy', share=1, student_every=0)], 'student_every'),
    ([dict(name='policy', share=1, speed=1)], 'a field that is not known'),
    ([dict(name='finetune', share=1, lr_factor=0)], 'lr_factor'),
    ([dict(name='plain', share=1, student_every=2)],
     r"phases\['plain'\]: student_every=2; accepted: 1, as iterations without"),
    ([dict(name='pretrain', length=10), dict(name='policy', length=20),
      dict(name='finetune', length=10)],
     'length is not known any more; .* pretrain 0.4167, policy 0.1667, '
     'finetune 0.4167, and train_cfg has max_epochs or max_iters = 24'),
])
def test_impossible_phases_are_refused(run_config, train, phases, sentence):
    cfg = run_config()
    cfg.custom_hooks[1].phases = phases
    with pytest.raises(ValueError, match=sentence):
        train(cfg)


def test_learning_rates_follow_the_phases(run_config, train, tmp_path, logged):
    cfg = run_config()
    cfg.param_scheduler = []
    train(cfg)
    rates = [line['lr'] for line in logged(tmp_path / 'run')]
    assert rates == pytest.approx([1e-3] * 6 + [1e-4] * 2)


def test_learning_rates_can_follow_the_updates(
        run_config, train, tmp_path, logged):
    cfg = run_config()
    cfg.custom_hooks[1].phases[2].lr_factor = 1.0
    cfg.default_hooks.param_scheduler = dict(
        type='mmrlkd.UpdateParamSchedulerHook')
    cfg.param_scheduler = [dict(
        type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5)]
    train(cfg)
    seen = [(line['updates_student'], line['lr'])
            for line in logged(tmp_path / 'run')]
    at_updates = [lr for updates, lr in seen if updates]
    # As a run of as many iterations without phases: 0.1 to 1 in 4 steps.
    assert at_updates == pytest.approx(
        [1e-4, 3.25e-4, 5.5e-4, 7.75e-4, 1e-3, 1e-3])


def test_a_collapsed_policy_is_said_in_words(run_config, train):
    cfg = run_config()
    cfg.model.budget = 0.5  # P5 is all an image can have …
    cfg.model.selector.horizon = 1  # … and it has to take it at once
    runner = train(cfg)
    log = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
    assert log.count('The policy has collapsed') == 1
    assert log.count('no longer explores') == 1


def test_scalars_reach_tensorboard(run_config, train, tmp_path):
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator')
    cfg = run_config()
    cfg.visualizer.vis_backends = [dict(type='TensorboardVisBackend')]
    train(cfg)
    (folder,) = (tmp_path / 'run').glob('*/vis_data')
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    tags = set(events.Tags()['scalars'])
    for tag in ('levels_per_image', 'select.P2', 'distill_cost', 'reward',
                'policy.entropy', 'policy.explained_variance'):
        assert tag in tags
