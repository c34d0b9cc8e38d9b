"""Runs with stochastic depth: what they change, and resuming them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mmrlkd.dynamic.residual import keeps_shape, residual_stages
from mmrlkd.engine import DropBlocksHook


@pytest.fixture
def assert_equal():
    def assert_equal(mine, theirs):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert torch.equal(mine[key], theirs[key]), key

    return assert_equal


@pytest.fixture
def dropping(run_config):
    """Config of the tiny detector with a rate, or None for no hook."""

    def config(name, rate):
        cfg = run_config(name, phases=None)
        cfg.model = cfg.model.student
        cfg.default_hooks.checkpoint = dict(
            type='CheckpointHook', interval=4, by_epoch=False)
        if rate is not None:
            cfg.custom_hooks.append(dict(type='mmrlkd.DropBlocksHook', rate=rate))
        return cfg

    return config


def test_a_rate_of_0_trains_as_without_the_hook(dropping, train, assert_equal):
    plain = train(dropping('plain', None)).model.state_dict()
    assert_equal(train(dropping('zero', 0)).model.state_dict(), plain)
    half = train(dropping('half', 0.5)).model.state_dict()
    assert half.keys() == plain.keys()
    assert not torch.equal(half['backbone.conv1.weight'],
                           plain['backbone.conv1.weight'])


def test_a_resumed_run_drops_the_same(dropping, train, assert_equal, tmp_path):
    whole = train(dropping('whole', 0.8)).model
    assert not any('forward' in vars(m) for m in whole.modules())
    killed = tmp_path / 'killed'
    killed.mkdir()
    (killed / 'iter_4.pth').write_bytes(
        (tmp_path / 'whole/iter_4.pth').read_bytes())
    (killed / 'last_checkpoint').write_text(str(killed / 'iter_4.pth'))
    assert_equal(train(dropping('killed', 0.8), resume=True).model.state_dict(),
                 whole.state_dict())


def test_blocks_are_dropped_at_their_rates():
    """400 iterations of a network whose five blocks only count."""
    from mmdet.models import ResNet
    backbone = ResNet(18, base_channels=4, stem_channels=4)
    model = nn.ModuleDict(dict(student=nn.ModuleDict(dict(backbone=backbone))))
    hook = DropBlocksHook(rate=0.8, backbone='student.backbone')
    runner = SimpleNamespace(model=model, seed=0)
    hook.before_train(runner)
    blocks = [b for stage in residual_stages(backbone) for b in stage
              if keeps_shape(b)]
    dropped = []
    for runner.iter in range(400):
        hook.before_train_iter(runner, 0)
        dropped.append(['forward' in vars(block) for block in blocks])
        hook.after_train_iter(runner, 0)
    rates = np.mean(dropped, 0)
    # Four standard deviations of a binomial's share: 0.1 at most.
    assert rates == pytest.approx([0.1, 0.2, 0.4, 0.6, 0.8], abs=0.1)
    assert not any('forward' in vars(block) for block in blocks)


@pytest.mark.parametrize('options, sentence', [
    (dict(rate=1.0), r'DropBlocksHook: rate=1.0; accepted: a number in \[0, 1\)'),
    (dict(rate=0.5, backbone='neck'),
     "backbone='neck'; accepted: the path of a module of the ModuleDict, which "
     'has backbone'),
])
def test_errors_are_sentences(options, sentence):
    runner = SimpleNamespace(model=nn.ModuleDict(dict(backbone=nn.Identity())))
    with pytest.raises(ValueError, match=sentence):
        DropBlocksHook(**options).before_train(runner)
