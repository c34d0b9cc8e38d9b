"""What the libraries' own tools make of this package's configs and files."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config

TOOLS = Path(mmdet.__file__).parent / '.mim/tools'
REPOSITORY = Path(__file__).parents[2]


def run(*arguments, **kwargs):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True,
        text=True, timeout=300, **kwargs)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def our_tool(name):
    spec = importlib.util.spec_from_file_location(
        f'{name}_tool', REPOSITORY / f'tools/{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def text_of(cfg: Config) -> str:
    return '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items())


@pytest.fixture
def trained(run_config, train, tmp_path):
    """A finished run of 8 iterations that has no teacher any more, and the
    config that a resumed run would leave in its work dir."""
    cfg = run_config(visualizer=dict(
        type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]))
    cfg.test_dataloader, cfg.test_evaluator = (
        cfg.val_dataloader, cfg.val_evaluator)
    cfg.test_cfg = dict()
    train(cfg)
    Path(tmp_path, 'teacher.pth').unlink()
    cfg.resume, cfg.load_from = True, 'nowhere.pth'
    cfg.pop('experiment_name')
    config = tmp_path / 'config.py'
    config.write_text(text_of(cfg))
    return config, Path(cfg.work_dir, 'iter_8.pth')


def test_detinferencer_needs_only_the_checkpoint(trained, tmp_path):
    """Neither this package nor the teacher's file."""
    _, checkpoint = trained
    script = tmp_path / 'infer.py'
    script.write_text(f'''
import json, sys
import mmrlkd  # only for what torch and torchvision of a test machine need
sys.modules['mmrlkd'] = None  # as where it is not installed
import numpy as np
from mmdet.apis import DetInferencer
infer = DetInferencer(weights={str(checkpoint)!r}, device='cpu')
image = (np.arange(64 * 64 * 3) % 251).reshape(64, 64, 3).astype(np.uint8)
found = infer(image, no_save_vis=True)['predictions'][0]
weight = infer.model.backbone.conv1.weight.sum().item()
print('RESULT', json.dumps([type(infer.model).__name__, weight, found['scores']]))
''')
    out = run(script)
    name, weight, scores = json.loads(out.partition('RESULT')[2])
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    assert name == 'RetinaNet'
    assert weight == pytest.approx(state['backbone.conv1.weight'].sum().item())
    assert 0 < len(scores) <= 10


def test_the_config_of_a_resumed_run_is_tested(trained, tmp_path, monkeypatch):
    """No optimizer is loaded, options of a plain model count, --tta merges."""
    config, checkpoint = trained
    tool = our_tool('test')
    state = torch.load(checkpoint, weights_only=True)
    state['optimizer'] = 'not to be touched'
    torch.save(state, checkpoint)
    arguments = [str(config), str(checkpoint), '--work-dir', str(tmp_path / 't')]
    plain = tool.main(arguments)
    assert tool.main([*arguments, '--cfg-options',
                      'model.student.test_cfg.score_thr=0.0']) == plain
    nothing = tool.main([*arguments, '--cfg-options',
                         'model.test_cfg.score_thr=0.999'])
    assert nothing != plain

    merged = {}
    monkeypatch.setattr(
        'mmdet.models.DetTTAModel.merge_preds', lambda self, samples: (
            merged.setdefault('views', len(samples[0]))
            and [each[0] for each in samples]))
    tool.main([*arguments, '--tta'])
    assert merged['views'] == 2


def test_test_py_refuses_a_file_that_is_no_student(trained, tmp_path):
    config, checkpoint = trained
    other = tmp_path / 'epoch_4.distill'
    torch.save(dict(iter=4, distiller={}, local=[], logs={}), other)
    with pytest.raises(SystemExit, match=(
            r'epoch_4\.distill does not fill the RetinaNet: \d+ of its \d+ '
            'weights are missing')):
        our_tool('test').main([str(config), str(other), '--work-dir',
                               str(tmp_path / 't')])


def test_analyze_logs_of_mmdet_reads_the_training_log(trained):
    """Lines of training have no key with a slash, by which it knows those of
    validation."""
    _, checkpoint = trained
    (log,) = checkpoint.parent.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    training = [line for line in lines if 'loss' in line or 'lr' in line]
    assert len(training) == 8
    assert {'select.P2', 'distill.P2', 'policy.entropy'} <= set(training[-1])
    assert not [key for line in training for key in line if '/' in key]
    out = run(TOOLS / 'analysis_tools/analyze_logs.py', 'cal_train_time', log)
    time = float(out.partition('average iter time: ')[2].partition(' ')[0])
    assert math.isfinite(time) and time > 0


@pytest.mark.parametrize('launch, base', [
    ([], "__import__('mmrlkd') and ['mmrlkd::_base_/default_runtime.py']"),
    (['-m', 'mmrlkd'], "['mmrlkd::_base_/default_runtime.py']"),
], ids=['plain', 'by the package'])
def test_train_py_of_mmdet_distils(run_config, tmp_path, launch, base):
    """Unchanged, on a config that inherits from this package's; so does test.py,
    which imports torchvision before it reads the config."""
    cfg = run_config(phases=None, selector=dict(type='mmrlkd.UniformSelector'))
    cfg.train_cfg.max_iters = 2
    cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = (
        cfg.val_dataloader, cfg.val_evaluator, dict())
    cfg.pop('experiment_name')
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {base}\n' + text_of(cfg))
    run(*launch, TOOLS / 'train.py', config, cwd=tmp_path)
    state = torch.load(
        Path(cfg.work_dir, 'iter_2.pth'), weights_only=True)['state_dict']
    assert 'backbone.conv1.weight' in state
    (log,) = Path(cfg.work_dir).glob('*/vis_data/scalars.json')
    last = [json.loads(line) for line in log.read_text().splitlines()][1]
    assert last['loss_distill'] > 0 and last['levels_per_image'] == 4
    if launch:
        run(*launch, TOOLS / 'test.py', config,
            Path(cfg.work_dir, 'iter_2.pth'), cwd=tmp_path)
        (result,) = Path(cfg.work_dir).glob('*/*.json')
        assert 'coco/bbox_mAP' in json.loads(result.read_text())
