"""What check.py says of a config, before anything trains."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).parents[2] / 'tools/check.py'


@pytest.fixture
def check(monkeypatch, capsys):
    """Run the tool; what it printed, words one space apart."""
    spec = importlib.util.spec_from_file_location('check_tool', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*arguments):
        tool.main([str(each) for each in arguments])
        return ' '.join(capsys.readouterr().out.split())

    return run


@pytest.fixture
def config_file(run_config, plain_config_text, tmp_path):
    path = tmp_path / 'config.py'
    cfg = run_config()
    path.write_text('\n'.join(
        f'{key} = {value!r}' for key, value in cfg.to_dict().items()))
    return path


def test_the_table_has_a_row_for_each_level(check, config_file):
    said = check(config_file)
    assert 'RetinaNet learns from RetinaNet, levels chosen by PolicySelector' in (
        said)
    assert ('│ P2 │ neck.fpn_convs.0 │ 16×64×64 /4 │ 8×64×64 /4 │ '
            'ConvConnector') in said
    assert 'matched' in said
    assert 'Budget: 7.5 of 7.5' in said
    assert 'balanced' not in said


@pytest.mark.parametrize('option', [
    "model.balancer={'type': 'mmrlkd.GradNorm'}",
    "custom_hooks=[{'type': 'mmrlkd.GradNormHook'}]",
], ids=['model', 'hook'])
def test_it_names_the_layer_that_losses_are_balanced_at(
        check, config_file, option):
    key, _, value = option.partition('=')
    text = config_file.read_text()
    config_file.write_text(f'{text}\n' + (
        f"model['balancer'] = {value}" if key.startswith('model') else
        f'custom_hooks = {value}'))
    assert ('Losses balanced by GradNorm, from their gradients at '
            'neck.lateral_convs.3.conv.') in check(config_file)


def test_a_wrong_option_ends_it_with_a_sentence(check, config_file):
    with pytest.raises(SystemExit, match='loss_weight=-1; accepted'):
        check(config_file, '--cfg-options', 'model.loss_weight=-1')


def test_a_pair_is_two_names(check):
    said = check('--pair', 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
                 'mmpretrain::resnet/resnet18_8xb32_in1k.py')
    assert 'ImageClassifier learns from ImageClassifier' in said
    assert '│ C3 │ backbone.layer3 │ 128×32×32 /8 │ 32×32×32 /8 │' in said
    assert 'skipped' in said


@pytest.mark.parametrize(('pair', 'sentence'), [
    (('mmdet::no/such.py', 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'),
     "student.config='mmdet::no/such.py' cannot be read"),
    (('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
      'mmpretrain::resnet/resnet18_8xb32_in1k.py'),
     'teacher is a model for classification; accepted: one for detection'),
    (('mmseg::swin/swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256.py',
      'mmseg::upernet/upernet_r18_4xb4-80k_ade20k-512x512.py'),
     '`mean` should have 1 or 3 values'),  # mmseg asserts it
])
def test_a_pair_that_cannot_be(check, pair, sentence):
    with pytest.raises(SystemExit, match=sentence):
        check('--pair', *pair)


def test_it_prints_what_decides(check, config_file):
    said = check(config_file, '--cfg-options',
                 'model.selector.reward.efficiency=0.25', 'model.budget=3.0',
                 'model.loss_weight=0.2')
    for row in ('│ model.selector.reward │ ResidualReward efficiency (λ)=0.25 │',
                '│ model.selector.learner │ PPO lr=0.0003, clip=0.2,',
                '│ model.budget │ 3 │', '│ model.loss_weight │ 0.2 │',
                'policy: ', '│ train_cfg │ max_iters=',
                '│ optim_wrapper.optimizer │ AdamW lr=0.001 │',
                '│ param_scheduler.0 │ LinearLR by_epoch=False, begin=0, end=6'):
        assert row in said
    assert 'train_dataloader.dataset: 16 images of 5 classes' in said
    assert 'Not read' not in said


@pytest.mark.parametrize(('method', 'key'), [
    ('worth', 'model.selector'),
    ('worth_shuffled', 'model.selector.selector')])
def test_a_mean_cost_decides_in_place_of_the_price(
        check, config_file, method, key):
    said = check(config_file, '--method', method, '--skip-weights')
    assert f'│ {key} │ PolicySelector horizon=1,' in said
    assert 'mean_cost=2' in said and '(λ)' not in said
    assert f'│ {key}.reward │ WorthReward signal=teacher_detections' in said


def test_a_pair_may_have_a_method(check):
    pair = ('--pair', 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
            'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py')
    said = check(*pair, '--method', 'shuffled')
    assert 'ControlSelector control=shuffled' in said
    assert 'ExpectedReward lr=0.001' in said and 'custom_hooks' in said
    with pytest.raises(SystemExit, match='--method wroth is not known'):
        check(*pair, '--method', 'wroth')


def test_a_value_that_nothing_reads_is_reported(check, config_file):
    config_file.write_text(
        config_file.read_text() + '\nimport copy\n'
        "selector = copy.deepcopy(model['selector'])\n"
        "model['selector']['reward']['efficiency'] = 0.5\n"
        "selector['reward']['efficiency'] = 0.3")
    assert ('Not read: selector.reward.efficiency is 0.3, but nothing reads it '
            'there: model.selector.reward.efficiency is 0.5.'
            ) in check(config_file)


@pytest.mark.parametrize(('option', 'sentence'), [
    ('model.bbox_head.num_classes=80',
     r'model\.student\.bbox_head\.num_classes is 80, but .* has 5 classes'),
    ('train_dataloader.dataset.data_prefix.img=nowhere/',
     r'train_dataloader\.dataset: image 0 cannot be read'),
    ('load_from=nowhere.pth', r'load_from: nowhere\.pth \(relative to /'),
    ('model.loss_wieght=1', r'model\.loss_wieght: no option of Pyramid'),
    ('selector.type=mmrlkd.PolicySelecter',
     r"model\.selector\.type is 'mmrlkd\.PolicySelecter'"),
])
def test_what_cannot_work_ends_it(check, config_file, option, sentence):
    with pytest.raises(SystemExit, match=sentence):
        check(config_file, '--cfg-options', option)


def test_a_new_style_config_is_checked_alike(check, config_file):
    """Types are classes, as below ``read_base()``."""
    text = config_file.read_text()
    config_file.write_text(
        'from mmdet.models import RetinaNet\n'
        'from mmengine.optim import OptimWrapper\n'
        'from mmrlkd.distillation import PyramidDistiller\n'
        'from mmrlkd.engine import PhaseHook\n' + text
        .replace("'mmrlkd.PyramidDistiller'", 'PyramidDistiller')
        .replace("'mmrlkd.PhaseHook'", 'PhaseHook')
        .replace("'RetinaNet'", 'RetinaNet')
        .replace("'OptimWrapper'", 'OptimWrapper'))
    said = check(config_file)
    assert 'RetinaNet learns from RetinaNet, levels chosen by PolicySelector' in (
        said)
    assert 'matched' in said and 'policy: ' in said
    with pytest.raises(SystemExit, match=r'model\.loss_wieght: no option'):
        check(config_file, '--cfg-options', 'model.loss_wieght=1')


class Prepared:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder, )


def test_a_prepared_teacher_file_runs_no_code(check, config_file, tmp_path):
    torch.save({'state_dict': {}, 'meta': Prepared(tmp_path / 'ran')},
               tmp_path / 'prepared.pth')
    with pytest.raises(SystemExit, match=(
            r'teacher.checkpoint=.*prepared.pth.* holds \w+.mkdir, which could '
            'run code')):
        check(config_file, '--cfg-options',
              f'model.teacher.checkpoint={tmp_path / "prepared.pth"}')
    assert not (tmp_path / 'ran').exists()
