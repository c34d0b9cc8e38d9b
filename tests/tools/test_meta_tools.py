"""Meta-training and adapting by command line."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from mmrlkd.distillation.selection.meta_policy import load_meta_policy
from mmrlkd.files import digest

ROOT = Path(__file__).parents[2]
NAMES = ('detection', 'segmentation', 'classification')


@pytest.fixture
def tool():

    def tool(name):
        spec = importlib.util.spec_from_file_location(
            name, ROOT / f'tools/{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main

    return tool


@pytest.fixture
def config(save_task, tmp_path):
    """A config of three tasks, one of which is left out."""
    for i, name in enumerate(NAMES):
        save_task(tmp_path / f'{name}.safetensors', levels=i + 2, width=3 + i,
                  config=f'configs/demo/{name}.py', images=24, seed=i)
    tasks = {name: dict(config=f'configs/demo/{name}.py',
                        recording=str(tmp_path / f'{name}.safetensors'))
             for name in NAMES}
    path = tmp_path / 'three.py'
    path.write_text(
        f'tasks = {tasks!r}\n'
        "policy = dict(type='mmrlkd.TokenPolicy', width=3, hidden=8, layers=1)\n"
        "learner = dict(type='mmrlkd.MAML', lr=.5, meta_lr=3e-2, shots=10)\n"
        "iterations = 4\ninterval = 2\nleft_out = 'classification'\n")
    return path


def test_a_meta_policy_is_learnt_and_adapted(tool, config, tmp_path, capsys):
    arguments = [str(config), '--work-dir', str(tmp_path / 'out')]
    tool('meta_train')(arguments)
    printed = capsys.readouterr().out
    assert 'detection (learnt from): ' in printed
    assert 'classification (left out): ' in printed
    path = tmp_path / 'out/meta.pth'
    meta = load_meta_policy(path)
    assert meta.tasks == ('detection', 'segmentation')
    assert (meta.reward, meta.lr) == (dict(type='AlignmentReward'), .5)
    log = json.loads((tmp_path / 'out/log.json').read_text())
    assert list(log[-1]['regret']) == list(NAMES)
    before = path.read_bytes()
    tool('meta_train')(arguments)  # finished: the same file
    assert path.read_bytes() == before

    new = tmp_path / 'classification.safetensors'
    out = tmp_path / 'adapted.pth'
    capsys.readouterr()
    tool('adapt')([str(path), str(new), '--shots', '12', '--steps', '3',
                   '--out', str(out)])
    printed = capsys.readouterr().out
    assert 'each of 12 other images: ' in printed
    assert 'after 3 updates from 12 images' in printed
    adapted = load_meta_policy(out)
    assert adapted.space.names == ('P2', 'P3', 'P4', 'P5')
    assert not adapted.policy.shared.action[2].weight.equal(
        meta.policy.shared.action[2].weight)
    assert path.read_bytes() == before


@pytest.mark.parametrize(('options', 'message'), [
    (['itrations=1'], "key='itrations'; accepted: 'tasks', 'left_out'"),
    (['learner.shots=0'], 'shots=0; accepted: an integer >= 1'),
    (['learner.shots=24'], 'shots=24; accepted: at most 23, for the task has 24'),
    (['left_out=depth'], "left_out='depth'; accepted: "),
    (['policy.type=mmrlkd.MLPPolicy', 'policy._delete_=True'],
     "policy.type='mmrlkd.MLPPolicy'; accepted: TokenPolicy"),
    (['tasks.detection.config=configs/demo/instance.py'],
     r'accepted: a recording of configs/demo/instance.py; this one is of'),
])
def test_settings_that_do_not_fit(tool, config, tmp_path, options, message):
    if 'MLP' in options[0]:
        text = config.read_text()
        config.write_text(text + "policy = dict(type='mmrlkd.MLPPolicy')\n")
        options = ['seed=0']
    with pytest.raises(SystemExit, match=message):
        tool('meta_train')([str(config), '--work-dir', str(tmp_path / 'out'),
                            '--cfg-options', *options])


def test_tasks_without_a_common_reward(tool, config, save_task, tmp_path):
    save_task(tmp_path / 'detection.safetensors', 'ResidualReward', images=24)
    with pytest.raises(SystemExit, match='accepted: tasks with a common reward'):
        tool('meta_train')([str(config), '--work-dir', str(tmp_path / 'out')])


def test_a_recording_of_another_student(tool, config, tmp_path):
    student = tmp_path / 'student.pth'
    torch.save({}, student)
    text = 'is a recording of another student.*accepted: ' + (
        digest(student)[:12])
    with pytest.raises(SystemExit, match=text):
        tool('meta_train')([
            str(config), '--work-dir', str(tmp_path / 'out'), '--cfg-options',
            f'tasks.detection.checkpoint={student}'])
    tool('meta_train')([str(config), '--work-dir', str(tmp_path / 'out'),
                        '--cfg-options', 'iterations=1'])
    arguments = [str(tmp_path / 'out/meta.pth'),
                 str(tmp_path / 'detection.safetensors')]
    with pytest.raises(SystemExit, match=text):
        tool('adapt')([*arguments, '--shots', '5', '--student', str(student)])
    for shots, accepted in (('0', 'an integer >= 1'), ('24', 'at most 23')):
        with pytest.raises(SystemExit, match=f'shots={shots}; accepted: {accepted}'):
            tool('adapt')([*arguments, '--shots', shots])
    save = tmp_path / 'detection.safetensors'
    with pytest.raises(SystemExit, match='is no meta-policy|cannot be read'):
        tool('adapt')([str(save), str(save)])
