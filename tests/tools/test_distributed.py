"""Processes that the scripts start: what they train, and how they end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import mmengine
import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools'
pytestmark = pytest.mark.slow

#: What every process imports.
HELPER = r'''
import os
import signal
import time

from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

# As conftest.py's plain_config_text: formatting takes seconds.
Config.pretty_text = property(lambda cfg: '\n'.join(
    f'{key} = {value!r}' for key, value in cfg.to_dict().items()))


@HOOKS.register_module()
class Dies(Hook):
    """Rank 1 is gone after the second iteration."""

    def __init__(self, how):
        self.how = how

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2 and get_rank() == 1:
            if self.how == 'is killed':
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
'''


@pytest.fixture
def launch(tmp_path):
    """Start a script of tools/ on CPUs; what it prints goes to a file."""
    started = []
    (tmp_path / 'helper.py').write_text(HELPER)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])

    def launch(script, *arguments, **environment):
        out = (tmp_path / f'{script}_{len(started)}.txt').open('w+')
        process = subprocess.Popen(
            ['bash', TOOLS / script, *map(str, arguments)], stdout=out,
            stderr=subprocess.STDOUT, cwd=tmp_path, env=dict(
                os.environ, PYTHON=sys.executable, PORT=port,
                PYTHONPATH=str(tmp_path), OMP_NUM_THREADS='1',
                CUDA_VISIBLE_DEVICES='-1', **environment))
        started.append((process, out))

        def end(timeout=240):
            code = process.wait(timeout)
            out.seek(0)
            return code, out.read()

        return end

    yield launch
    for process, out in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # torchrun passes it on
            process.wait(60)
        out.close()


@pytest.fixture
def even_config(run_config, even_student):
    """A run in which nothing is drawn and nothing but gradients depends on
    the other images of a batch; and its file."""

    def build(name, batch_size, **overrides):
        cfg = run_config(
            name, student=even_student, selector=dict(
                type='mmrlkd.PolicySelector', greedy=True,
                policy=dict(type='mmrlkd.LSTMPolicy', hidden=16)),
            total=4, phases=[dict(name='pretrain', share=0.5),
                             dict(name='finetune', share=0.5, learn_every=0,
                                  lr_factor=1.0)],
            optim_wrapper=dict(
                type='OptimWrapper', clip_grad=dict(max_norm=10.0),
                optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            model_wrapper_cfg=dict(type='mmrlkd.DistillDataParallel'),
            custom_imports=dict(
                imports=['helper', 'projects.scenes.detection'],
                allow_failed_imports=False), **overrides)
        cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.1))
        cfg.train_dataloader.batch_size = batch_size
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset.pipeline = [
            step for step in pipeline if step.type != 'RandomFlip']
        cfg.test_dataloader = cfg.val_dataloader
        cfg.test_evaluator = cfg.val_evaluator
        cfg.test_cfg = dict()
        path = Path(f'{cfg.work_dir}.py')
        plain = cfg.copy()
        plain.pop('experiment_name')
        plain.dump(path)
        return cfg, path

    return build


def test_two_processes_are_one_and_test_the_student(
        even_config, even_student, launch, train, tmp_path):
    cfg, _ = even_config('one', 4)
    train(cfg)
    even_student.backbone.with_cp = True  # changes nothing, under DDP too
    _, path = even_config('two', 2)
    code, said = launch('dist_train.sh', path, 2)()
    assert code == 0, said[-3000:]

    def saved(name, file):
        return torch.load(tmp_path / name / file, weights_only=True)

    def same(mine, theirs):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            torch.testing.assert_close(
                value, theirs[key], rtol=1e-4, atol=1e-5, msg=key)

    one, two = saved('one', 'iter_4.pth'), saved('two', 'iter_4.pth')
    for part in ('state_dict', 'ema_state_dict'):
        same(two[part], one[part])
    mine, theirs = (saved(name, 'iter_4.pth')['mmrlkd']['distiller']
                    for name in ('two', 'one'))
    same(mine['links'], theirs['links'])
    same(mine['selector']['policy'], theirs['selector']['policy'])
    same(dict(mean=mine['running_mean']), dict(mean=theirs['running_mean']))
    before = saved('one', 'iter_1.pth')['state_dict']
    assert max((value - before[key]).abs().max()
               for key, value in one['state_dict'].items()) > 1e-3
    logs = [saved(name, 'iter_4.pth')['mmrlkd']['logs']
            for name in ('one', 'two')]
    levels = [log['train/levels_per_image'][0] for log in logs]
    assert levels[0][0] == 4 and levels[0][-1] < 4  # the policy chose

    code, said = launch(
        'dist_test.sh', path, tmp_path / 'two/iter_4.pth', 2,
        '--work-dir', tmp_path / 'tested', '--out', tmp_path / 'out.pkl')()
    assert code == 0, said[-3000:]
    assert said.count('Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all'
                      ) == 1
    results = mmengine.load(tmp_path / 'out.pkl')
    images = [image['id'] for image in mmengine.load(
        Path(cfg.val_evaluator.ann_file))['images']]
    assert [result['img_id'] for result in results] == images


@pytest.mark.parametrize('how, nodes, sentence', [
    ('is killed', 2, 'Signal 9 (SIGKILL)'),
    ('hangs', 1, 'Timed out'),  # so rank 0 raises, and ends rank 1
])
def test_all_ranks_end_if_one_dies(
        even_config, launch, tmp_path, how, nodes, sentence):
    cfg, path = even_config(
        'run', 2, env_cfg=dict(dist_cfg=dict(timeout=20)))
    cfg.custom_hooks.append(dict(type='Dies', how=how))
    cfg.pop('experiment_name')
    cfg.dump(path)
    ends = [launch('dist_train.sh', path, 2 // nodes, NNODES=str(nodes),
                   NODE_RANK=str(node)) for node in range(nodes)]
    codes, said = zip(*[end(180) for end in ends], strict=True)
    assert 0 not in codes, said
    assert sentence in said[-1], said[-1][-3000:]
    assert (tmp_path / 'run/iter_2.pth').is_file()
    assert not (tmp_path / 'run/iter_3.pth').exists()
