"""Whole runs of a tiny detector, inside mmengine's Runner."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

LEVELS = ('P2', 'P3', 'P4', 'P5')
PPO = dict(
    type='mmrlkd.PolicySelector', rollout_batches=2,
    policy=dict(type='mmrlkd.LSTMPolicy', hidden=16),
    reward=dict(type='mmrlkd.ResidualReward'),
    learner=dict(type='mmrlkd.PPO', epochs=2, minibatches=2))
PHASES = [
    dict(name='pretrain', length=2),
    dict(name='policy', length=4, student_every=2),
    dict(name='finetune', length=2, learn_every=1),
]


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch):
    """Every Runner and every checkpoint formats the config with yapf, which
    would take most of these tests' time."""
    monkeypatch.setattr(
        Config, 'pretty_text', property(lambda cfg: repr(cfg.to_dict())))


@pytest.fixture
def run_config(tiny_scenes, scenes_dataset, tiny_student, tiny_teacher,
               tmp_path):
    """A config of a whole run; arguments override its top-level keys."""

    def build(name='run', selector=PPO, phases=PHASES, by_epoch=False,
              student=None, **overrides):
        custom = [dict(type='mmrlkd.SeedHook')]
        total = 8
        if phases is not None:
            custom.append(dict(type='mmrlkd.PhaseHook', phases=phases))
            custom.append(dict(type='mmrlkd.PolicyHealthHook', window=2))
            total = sum(phase['length'] for phase in phases)
        sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
        loader = dict(batch_size=4, num_workers=0)
        cfg = dict(
            default_scope='mmdet',
            work_dir=str(tmp_path / name),
            model=dict(
                type='mmrlkd.PyramidDistiller', student=student or tiny_student,
                teacher=tiny_teacher, levels=LEVELS, selector=selector),
            train_dataloader=dict(
                **loader, sampler=dict(type=sampler, shuffle=True),
                dataset=scenes_dataset('train')),
            val_dataloader=dict(
                **loader, sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=scenes_dataset('val')),
            val_evaluator=dict(
                type='mmrlkd.DifficultyCocoMetric', metric='bbox',
                ann_file=str(tiny_scenes / 'annotations/val.json')),
            train_cfg=(
                dict(type='EpochBasedTrainLoop', max_epochs=total,
                     val_interval=3) if by_epoch else
                dict(type='mmrlkd.SeededIterBasedTrainLoop', max_iters=total,
                     val_interval=3)),
            val_cfg=dict(),
            optim_wrapper=dict(
                type='OptimWrapper', clip_grad=dict(max_norm=10.0),
                optimizer=dict(type='AdamW', lr=1e-3)),
            param_scheduler=[dict(
                type='LinearLR', start_factor=0.1, by_epoch=False, begin=0,
                end=6)],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(
                    type='mmrlkd.DistillCheckpointHook', interval=1,
                    by_epoch=by_epoch)),
            custom_hooks=custom,
            log_processor=dict(type='LogProcessor', by_epoch=by_epoch),
            visualizer=dict(
                type='Visualizer',
                vis_backends=[dict(type='LocalVisBackend')]),
            randomness=dict(seed=3),
            log_level='WARNING',
            experiment_name=f'{tmp_path.name}_{name}')
        return Config(copy.deepcopy({**cfg, **overrides}))

    return build


@pytest.fixture
def train():
    """Run a config to its end; returns the Runner."""

    def run(cfg, resume=False):
        torch.manual_seed(99)  # whatever the process did before
        cfg = copy.deepcopy(cfg)
        cfg.resume = resume
        cfg.experiment_name += f'_{torch.randint(2**31, ()).item()}' * resume
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run
