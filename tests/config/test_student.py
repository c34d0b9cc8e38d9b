"""The student of a distillation config, and what reaches it."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmrlkd.config.compose import load_config
from mmrlkd.config.student import (
    is_distiller,
    plain_student_config,
    student_config,
)

NEW_STYLE = '''
from mmengine.config import read_base
from mmdet.models import ResNet, RetinaNet
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.engine import PhaseHook
from torch.optim import SGD

with read_base():
    from .base import *

model = dict(
    type=PyramidDistiller,
    student=dict(type=RetinaNet, backbone=dict(type=ResNet, depth=18)),
    teacher=None, selector=dict(type='NoneSelector'))
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))
custom_hooks = [dict(type=PhaseHook, phases=[])]
'''


@pytest.fixture
def write(run_config, tmp_path):
    """Write the tiny run's config, text behind it; the file."""

    def file(text: str = '', **overrides) -> Path:
        path = tmp_path / 'config.py'
        cfg = run_config(**overrides)
        path.write_text('\n'.join(
            f'{key} = {value!r}' for key, value in cfg.to_dict().items())
            + f'\n{text}')
        return path

    return file


@pytest.mark.parametrize(('key', 'value', 'place'), [
    ('model.test_cfg.score_thr', 0.3, 'test_cfg.score_thr'),
    ('model.backbone.depth', 34, 'backbone.depth'),
    ('model.bbox_head.num_classes', 3, 'bbox_head.num_classes'),
    ('model.data_preprocessor.pad_size_divisor', 64,
     'data_preprocessor.pad_size_divisor'),
    ('model.student.test_cfg.score_thr', 0.4, 'test_cfg.score_thr'),
])
def test_options_of_a_plain_model_reach_the_student(write, key, value, place):
    cfg = load_config(write(), cfg_options={key: value})
    found = cfg.model.student
    for part in place.split('.'):
        found = found[part]
    assert found == value
    assert set(cfg.model) == {'type', 'student', 'teacher', 'levels', 'selector'}
    assert len(cfg.model.student.backbone) == 7  # merged, not replaced


def test_values_of_a_plain_model_in_a_file_reach_the_student(write):
    cfg = load_config(write("model['test_cfg'] = dict(score_thr=0.3)"))
    assert cfg.model.student.test_cfg.score_thr == 0.3
    assert cfg.model.student.test_cfg.nms_pre == 50


def test_options_at_the_top_level_reach_the_distiller(write):
    cfg = load_config(write(), cfg_options={'selector.reward.efficiency': 0.3,
                                'loss_weight': 2})
    assert cfg.model.selector.reward.efficiency == 0.3
    assert cfg.model.loss_weight == 2
    assert 'selector' not in cfg


@pytest.mark.parametrize(('text', 'options', 'sentence'), [
    ('', {'model.loss_wieght': 1},
     r'model\.loss_wieght: no option of PyramidDistiller, nor of its student '
     r'\(RetinaNet\); did you mean loss_weight'),
    ("model['backbone'] = dict(type='ResNet', depth=50)", {},
     r'model has backbone beside student.*_delete_=True'),
    ("model['student'] = 'mmdet::a.py'", {},
     r"model\.student is 'mmdet::a\.py'; accepted: the model of a config"),
    ("root = 'there/'; train_dataloader['dataset']['data_root'] = root",
     {'root': 'here/'}, r'root: nothing reads root, which the config copies; '
     r'accepted: train_dataloader\.dataset\.data_root=…'),
    ('', {'train_dataloder.batch_size': 1},
     r'the config has no train_dataloder; did you mean train_dataloader'),
    ('', {'loss_wieght': 1}, 'the config has no loss_wieght; did you mean '
     'loss_weight'),
    ('', {'efficiency': 1}, r'the config has no efficiency; did you mean '
     r'model\.selector\.reward\.efficiency\?'),
    ('', {'model.efficiency': 1}, r'model\.efficiency: no option of .*; did you '
     r'mean model\.selector\.reward\.efficiency\?'),
    ('', {'max_epochs': 1}, r'the config has no max_epochs; accepted: .*train_cfg'),
], ids=['misspelt', 'delete', 'string', 'copy', 'section', 'top', 'part',
        "a part's", 'variable'])
def test_what_nothing_reads_is_refused(write, text, options, sentence):
    selector = dict(
        type='mmrlkd.PolicySelector', reward=dict(type='mmrlkd.ResidualReward'))
    with pytest.raises(ValueError, match=sentence):
        load_config(write(text, selector=selector), cfg_options=options)


def test_a_new_style_config_reads_like_one_with_names(tmp_path):
    Path(tmp_path, 'base.py').write_text("default_scope = 'mmdet'")
    Path(tmp_path, 'config.py').write_text(NEW_STYLE)
    cfg = load_config(
        tmp_path / 'config.py', cfg_options={'model.backbone.depth': 34})
    assert is_distiller(cfg)
    assert cfg.model.type == 'mmrlkd.PyramidDistiller'
    assert cfg.model.student.backbone == dict(
        type='mmdet.models.ResNet', depth=34)
    assert cfg.custom_hooks[0].type == 'mmrlkd.PhaseHook'
    assert cfg.optim_wrapper.optimizer.type == 'torch.optim.SGD'
    assert student_config(cfg).model.type == 'mmdet.models.RetinaNet'
    assert student_config(cfg).custom_hooks == []


def test_own_names_without_prefix_get_it(write):
    text = ("model['type'] = 'PyramidDistiller'\n"
            "custom_hooks[0]['type'] = 'SeedHook'\n"
            "default_hooks['checkpoint']['type'] = 'DistillCheckpointHook'")
    cfg = load_config(write(text))
    assert cfg.model.type == 'mmrlkd.PyramidDistiller'
    assert cfg.custom_hooks[0].type == 'mmrlkd.SeedHook'
    assert cfg.default_hooks.checkpoint.type == 'mmrlkd.DistillCheckpointHook'
    assert cfg.default_hooks.logger.type == 'LoggerHook'


def test_own_names_of_options_get_it_too(write):
    cfg = load_config(write(), cfg_options={
        'model.type': 'PyramidDistiller', 'custom_hooks.0.type': 'SeedHook',
        'model.test_cfg.score_thr': 0.3})
    assert cfg.model.type == 'mmrlkd.PyramidDistiller'
    assert cfg.custom_hooks[0].type == 'mmrlkd.SeedHook'
    assert cfg.model.student.test_cfg.score_thr == 0.3


def test_what_is_inherited_from_this_package_is_the_librarys(tmp_path):
    """Of ``mmrlkd::…`` mmengine notes the scope, in which there is no
    DetLocalVisualizer."""
    path = tmp_path / 'config.py'
    path.write_text("_base_ = ['mmrlkd::demo/detection.py']\n"
                    'visualizer = _base_.visualizer\nmodel = _base_.model')
    cfg = load_config(path)
    assert cfg.visualizer.type == 'DetLocalVisualizer'
    assert "'mmrlkd'" not in str({
        key: value for key, value in cfg.items() if key != 'custom_imports'})


def test_a_test_resumes_nothing(write):
    cfg = student_config(load_config(
        write('resume = True\nload_from = "epoch_3.pth"')))
    assert (cfg.resume, cfg.load_from) == (False, None)


def test_the_config_that_a_checkpoint_carries_is_the_students(run_config):
    cfg = run_config(
        custom_imports=dict(imports=[
            'mmrlkd', 'mmrlkd.engine.phase_hook', 'mine']),
                     param=1, visualizer=dict(type='DetLocalVisualizer'))
    text = plain_student_config(cfg).pretty_text
    plain = Config.fromstring(text.replace("'mine'", "'json'"), '.py')
    assert plain.model == cfg.model.student
    assert plain.val_dataloader.dataset.pipeline == (
        cfg.val_dataloader.dataset.pipeline)
    assert plain.custom_imports.imports == ['json']
    assert set(plain) == {
        'custom_hooks', 'custom_imports', 'default_hooks', 'default_scope',
        'experiment_name', 'log_level', 'log_processor', 'model', 'randomness',
        'val_cfg', 'val_dataloader', 'val_evaluator', 'visualizer',
        'work_dir'}
    assert 'teacher' not in text and 'Hook' not in text.replace(
        'LoggerHook', '')
