"""Where phases begin, and what they ask of the rest of a config."""

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmrlkd.distillation.schedule import Schedule, teaches
from mmrlkd.engine.phase_hook import (
    check_phases,
    divide,
    loop_length,
    make_phase,
    make_phases,
)

plan = Schedule.set
THREE = [dict(name='pretrain', share=5 / 12),
         dict(name='policy', share=1 / 6),
         dict(name='finetune', share=5 / 12)]


@pytest.mark.parametrize(('total', 'parts'), [
    (24, [10, 4, 10]), (12, [5, 2, 5]), (80_000, [33333, 13334, 33333]),
    (300, [125, 50, 125]), (3, [1, 1, 1]), (4, [2, 1, 1])])
def test_shares_become_whole_epochs_or_iterations(total, parts):
    assert divide(total, make_phases(THREE)) == parts


def config(phases, levels=('P2', 'P3'), **train_cfg):
    return Config(dict(
        model=dict(type='mmrlkd.PyramidDistiller', levels=levels),
        train_cfg=train_cfg, custom_hooks=[
            dict(type='mmrlkd.PhaseHook', phases=phases)]))


def test_student_every_lengthens_the_loop():
    assert loop_length(config(THREE, max_epochs=24)) == 10 + 4 * 5 + 10
    assert loop_length(config(THREE, max_iters=600)) == 250 + 100 * 5 + 250
    assert loop_length(Config(dict(train_cfg=dict(max_epochs=12)))) == 12
    assert loop_length(Config(dict(train_cfg=None, custom_hooks=None))) is None


def test_a_frozen_backbone_is_not_distilled_into(build_distiller):
    cfg = config(THREE, levels=('C2', 'C3'), max_epochs=24)
    sentence = (r"model\.levels has C2, C3, .* the phase 'policy' freezes it "
                r'\(freeze_backbone=True\)')
    with pytest.raises(ValueError, match=sentence):
        check_phases(cfg)
    with pytest.raises(ValueError, match=sentence):
        check_phases(cfg, build_distiller(levels=('C2', 'C3')))
    check_phases(cfg, build_distiller())  # levels of the neck
    thawed = [dict(phase, freeze_backbone=False) for phase in THREE]
    check_phases(config(thawed, levels=('C2', 'C3'), max_epochs=24))


@pytest.mark.parametrize(('selector', 'phase', 'expected'), [
    ('PolicySelector', dict(name='pretrain'), False),
    ('PolicySelector', dict(name='pretrain', learn_every=2), True),
    ('PolicySelector', dict(name='search'), True),
    ('PolicySelector', dict(name='search', learn_every=0), False),
    ('PolicySelector', dict(name='plain', learn_every=1), False),
    ('DARTSSelector', dict(name='pretrain', learn_every=2), False),
    ('DARTSSelector', dict(name='search'), True),
    ('UniformSelector', dict(name='search'), False),
])
def test_where_a_selector_learns(build_distiller, selector, phase, expected):
    model = build_distiller(selector=dict(type=f'mmrlkd.{selector}'))
    assert teaches(make_phase(share=1.0, **phase), model.selector) == expected


@pytest.mark.parametrize(('every', 'progress'), [
    (0, [0, 0, 0, .25, .5, .75]), (2, [0, 1 / 6, 1 / 3, .5, 2 / 3, 5 / 6])])
def test_learning_in_a_warm_up_is_part_of_the_progress(
        run_config, monkeypatch, plain_config_text, every, progress):
    """The learning rate of the policy falls to 0 over all phases in which it
    learns."""
    cfg = run_config(total=6, param_scheduler=[], phases=[
        dict(name='pretrain', share=1 / 3, learn_every=every),
        dict(name='search', share=2 / 3)])
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    told = []
    monkeypatch.setattr(Schedule, 'set', lambda self, phase, iteration, share: (
        told.append(share), plan(self, phase, iteration, share)))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert told == pytest.approx(progress)
