"""Pairs and methods: what --method replaces, keeps and refuses."""

import functools
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config import utils as config_utils

from mmrlkd.config.compose import (
    load_config,
    method_names,
    read_method,
    work_dir_of,
)
from mmrlkd.engine.phase_hook import phases_of
from mmrlkd.search.in_training import hold_out
from mmrlkd.search.settings import SearchSettings, check_searching

ROOT = Path(__file__).parents[2]
PAIR = ROOT / 'configs/demo/detection.py'


@pytest.fixture(autouse=True, scope='module')
def metafiles_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_utils, '_get_cfg_metainfo', functools.cache(
            config_utils._get_cfg_metainfo))
        yield


def kinds(cfg: Config) -> list[str]:
    return [hook['type'] for hook in cfg.custom_hooks]


def without_name(cfg: Config) -> dict:
    content = cfg.to_dict()
    del content['method']['name']
    return content


def test_a_pair_is_what_its_flagship_method_makes_of_it():
    assert without_name(load_config(PAIR)) == without_name(
        load_config(PAIR, 'ppo'))


def test_a_method_replaces_its_own_and_keeps_the_pairs(tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(
        f"_base_ = [{str(PAIR)!r}]\n"
        "model = dict(loss=dict(type='mmrlkd.CWDLoss'),\n"
        "             balancer=dict(type='mmrlkd.PCGrad'))\n"
        "custom_hooks = _base_.custom_hooks + [dict(type='EMAHook')]\n"
        'randomness = dict(seed=7)\n')
    cfg = load_config(mine, 'greedy')
    assert cfg.model.selector == dict(
        type='mmrlkd.GreedySelector', efficiency=0.5)
    assert kinds(cfg) == ['EMAHook', 'mmrlkd.SeedHook']
    assert cfg.model.loss.type == 'mmrlkd.CWDLoss'
    assert 'balancer' not in cfg.model
    assert cfg.randomness.seed == 7
    assert cfg.model.student == load_config(PAIR).model.student


def test_a_loss_that_a_method_brings_goes_with_it(tmp_path):
    method = tmp_path / 'with_loss.py'
    method.write_text(
        "method = dict(model=dict(selector=dict(type='mmrlkd.UniformSelector'),"
        "\n    loss=dict(type='mmrlkd.CWDLoss')))\n")
    cfg = load_config(PAIR, method)
    assert cfg.model.loss.type == 'mmrlkd.CWDLoss'
    assert cfg.method == dict(name='with_loss', sets=['loss', 'selector'])
    cfg.dump(tmp_path / 'dumped.py')
    assert 'loss' not in load_config(tmp_path / 'dumped.py', 'uniform').model


@pytest.mark.parametrize('method', ['grpo', 'gradnorm', 'darts', 'evolution'])
def test_a_dumped_config_is_the_same_and_takes_another_method(
        method, tmp_path):
    cfg = load_config(PAIR, method)
    cfg.dump(tmp_path / 'dumped.py')
    again = load_config(tmp_path / 'dumped.py')
    assert again.to_dict() == cfg.to_dict()
    assert load_config(tmp_path / 'dumped.py', 'ppo').to_dict() == (
        load_config(PAIR, 'ppo').to_dict())


def test_a_pairs_parts_are_given_to_every_method():
    small = dict(hidden=64, global_dim=128, level_dim=64)
    assert load_config(PAIR, 'reinforce').model.selector.policy == dict(
        type='mmrlkd.LSTMPolicy', **small)
    assert load_config(PAIR, 'gated').model.selector.gate == dict(
        type='mmrlkd.MLPPolicy', **small)
    assert load_config(PAIR, 'evolution').search.strategy.population == 4


@pytest.mark.parametrize(('content', 'sentence'), [
    ('model = dict()', 'has no method with a model'),
    ('method = dict(model=dict())', 'has no method.model.selector'),
    ("method = dict(model=dict(selector=dict(type='A'), student=dict()))",
     'a method has no method.model.student; accepted: method.model.selector'),
    ("method = dict(model=dict(selector=dict(type='A')), train_cfg=dict())",
     'a method has no method.train_cfg'),
    ("method = dict(model=dict(selector=dict(type='A')))\nmodel = dict()",
     'a method has no model'),
])
def test_a_file_that_is_no_method_is_refused(content, sentence, tmp_path):
    path = tmp_path / 'method.py'
    path.write_text(content + '\n')
    with pytest.raises(ValueError, match=sentence):
        read_method(path)


def test_an_unknown_method_is_answered_with_its_neighbours():
    with pytest.raises(ValueError, match='accepted: greedy.*, or another of '
                                         'by_objects, controller'):
        read_method('gredy')
    assert read_method('ppo-phases') == read_method('ppo_phases')


def test_a_method_needs_a_pair():
    with pytest.raises(ValueError, match="model.type is 'GFL'"):
        load_config(ROOT / 'configs/demo/detection_student.py', 'greedy')


@pytest.mark.parametrize(('option', 'sentence'), [
    ('method.model.selector.reward.efficiency',
     'here model.selector.reward.efficiency'),
    ('parts.hidden', 'accepted: options of model'),
])
def test_an_option_without_effect_is_refused(option, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_config(PAIR, cfg_options={option: 0.3})


@pytest.mark.parametrize('prefix', ['model.', ''])
def test_a_models_options_need_not_name_the_model(prefix):
    cfg = load_config(PAIR, cfg_options={
        f'{prefix}selector.reward.efficiency': 0.3, f'{prefix}budget': 2.0})
    assert cfg.model.selector.reward.efficiency == 0.3
    assert cfg.model.budget == 2.0


def test_options_reach_the_method_that_was_put_in_place():
    cfg = load_config(PAIR, 'greedy', {
        'model.selector.efficiency': 0.3, 'model.budget': 2.0})
    assert cfg.model.selector.efficiency == 0.3
    assert cfg.model.budget == 2.0


def test_runs_of_two_methods_have_two_folders():
    assert work_dir_of('a/pair.py', None) == 'work_dirs/pair'
    assert work_dir_of('a/pair.py', 'b/mine.py') == 'work_dirs/pair_mine'


def test_a_search_in_training_holds_images_out():
    cfg = load_config(PAIR, 'darts')
    with pytest.raises(ValueError, match='accepted: the same command with '
                                         'tools/search.py'):
        check_searching(cfg)
    settings = SearchSettings.of(cfg)
    assert settings.then == 'uniform' and settings.strategy is None
    hold_out(cfg, settings)
    held_out = cfg.custom_hooks[-1]
    assert held_out.type == 'mmrlkd.HeldOutHook'
    files = [loader.dataset.ann_file for loader in (
        cfg.train_dataloader, held_out.dataloader, cfg.val_dataloader)]
    assert files == ['annotations/search_train.json',
                     *['annotations/search_val.json'] * 2]
    check_searching(cfg)


def test_every_method_can_be_read():
    assert len(method_names()) == 23
    for name in method_names():
        assert read_method(name).model.selector.type.startswith('mmrlkd.')


@pytest.mark.parametrize('method', [
    'expected_reward', 'worth', 'shuffled', 'ppo', 'grpo', 'reinforce'])
def test_a_policy_learns_while_the_student_trains(method):
    """Nothing is frozen, every iteration updates the student, and after a warm-up with
    all levels the policy chooses and learns to the end."""
    first, *rest = phases_of(load_config(PAIR, method))
    assert not first.choose and first.share <= 0.25
    assert rest and all(phase.choose and phase.learn_every > 0 for phase in rest)
    assert all(phase.student_every == 1 and phase.lr_factor == 1
               and not phase.freeze_backbone for phase in (first, *rest))
    assert sum(phase.share for phase in (first, *rest)) == pytest.approx(1)
