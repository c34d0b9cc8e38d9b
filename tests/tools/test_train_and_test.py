"""The command line, as a user types it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

REPOSITORY = Path(__file__).parents[2]


def tool(name):
    spec = importlib.util.spec_from_file_location(
        f'{name}_tool', REPOSITORY / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, *arguments):
    """What the command does, in this process."""
    return tool(name).main([*map(str, arguments)])


@pytest.fixture
def config_file(run_config, tmp_path, plain_config_text):
    path = tmp_path / 'config.py'
    cfg = run_config()
    cfg.pop('experiment_name')
    cfg.dump(path)
    return path


def test_train_resume_and_test(config_file, tmp_path):
    work_dir = tmp_path / 'work'
    options = ('--cfg-options', 'model.selector.reward.efficiency=0.25',
               'randomness.seed=7')
    trained = subprocess.run(
        [sys.executable, 'tools/train.py', config_file, '--work-dir', work_dir,
         *options], capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert trained.returncode == 0, trained.stderr[-2000:]
    used = Config.fromfile(work_dir / 'config.py')
    assert used.model.selector.reward.efficiency == 0.25
    checkpoint = torch.load(work_dir / 'iter_8.pth', weights_only=True)
    assert checkpoint['meta']['seed'] == 7

    (work_dir / 'iter_8.pth').unlink()
    (work_dir / 'last_checkpoint').unlink()
    call('train', config_file, '--work-dir', work_dir, '--resume', *options)
    again = torch.load(work_dir / 'iter_8.pth', weights_only=True)
    for key, value in checkpoint['state_dict'].items():
        assert torch.equal(value, again['state_dict'][key]), key

    Path(tmp_path / 'teacher.pth').unlink()  # testing needs no teacher
    cfg = Config.fromfile(config_file)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = cfg.val_evaluator
    cfg.test_cfg = dict()
    cfg.dump(config_file)
    metrics = call('test', config_file, work_dir / 'iter_8.pth', '--work-dir',
                   tmp_path / 'tested', '--out', tmp_path / 'out.pkl')
    assert 0 <= metrics['coco/bbox_mAP'] <= 1
    assert (tmp_path / 'out.pkl').is_file()


@pytest.mark.parametrize('arguments, sentence', [
    (['--amp'], '--amp needs a GPU'),
    (['--auto-scale-lr'], 'auto_scale_lr.base_batch_size'),
    (['--cfg-options', 'model.loss_weight=-1'], 'loss_weight=-1; accepted'),
])
def test_train_refuses_in_a_sentence(config_file, tmp_path, arguments, sentence):
    if arguments == ['--amp'] and torch.cuda.is_available():
        pytest.skip('has a GPU')
    with pytest.raises(SystemExit) as stop:
        call('train', config_file, '--work-dir', tmp_path / 'w', *arguments)
    assert sentence in stop.value.code  # text: printed, and the status is 1


def test_test_refuses_a_missing_checkpoint(config_file):
    with pytest.raises(SystemExit) as stop:
        call('test', config_file, 'nowhere.pth')
    assert (f"'nowhere.pth' (relative to {Path.cwd()}) is not a file"
            in stop.value.code)


class Prepared:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder, )


@pytest.fixture
def prepared(tmp_path):
    """A checkpoint that would make the folder ``ran``."""
    torch.save({'state_dict': {}, 'meta': Prepared(tmp_path / 'ran')},
               tmp_path / 'prepared.pth')
    yield tmp_path / 'prepared.pth'
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('how', ['load_from', 'resume', 'Pretrained'])
def test_training_runs_no_code_from_a_file(
        config_file, tmp_path, prepared, how):
    arguments = dict(
        load_from=('--cfg-options', f'load_from={prepared}'),
        resume=('--resume', str(prepared)),
        Pretrained=('--cfg-options', 'model.student.backbone.init_cfg.type='
                    'Pretrained', f'model.student.backbone.init_cfg.checkpoint='
                    f'{prepared}'))[how]
    with pytest.raises(SystemExit, match=(
            r'A checkpoint that the run reads \(load_from, resume or an init_cfg '
            r'of type Pretrained\) holds \w+.mkdir, which could run code')):
        call('train', config_file, '--work-dir', tmp_path / 'work', *arguments)


def test_testing_runs_no_code_from_a_file(config_file, tmp_path, prepared):
    cfg = Config.fromfile(config_file)
    cfg.update(test_dataloader=cfg.val_dataloader,
               test_evaluator=cfg.val_evaluator, test_cfg=dict())
    cfg.dump(config_file)
    with pytest.raises(SystemExit, match=r'holds \w+.mkdir, which could run'):
        call('test', config_file, prepared, '--work-dir', tmp_path / 'work')
