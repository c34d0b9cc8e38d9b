"""What the scripts ask torchrun and srun for."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def asked(tmp_path):
    """Run a script between stand-ins for Python and srun that print their
    arguments; the lines they printed."""
    for name in ('python-stub', 'srun'):
        stub = tmp_path / name
        stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$PYTHONPATH"\n')
        stub.chmod(0o755)

    def run(script, *arguments, **environment):
        done = subprocess.run(
            ['bash', TOOLS / script, *arguments], capture_output=True,
            text=True, env=dict(
                PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHON='python-stub',
                PYTHONPATH='/mine', **environment))
        assert done.returncode == 0, done.stderr
        *lines, path = done.stdout.splitlines()
        assert path == f'{TOOLS}/..:/mine'
        return lines

    return run


@pytest.mark.parametrize('script, tool, arguments', [
    ('dist_train.sh', 'train.py', ['config.py']),
    ('dist_test.sh', 'test.py', ['config.py', 'epoch_1.pth']),
])
def test_torchrun_is_asked_for_the_nodes_of_the_environment(
        asked, script, tool, arguments):
    def lines(nodes, rank, address, port, *more):
        return [
            '-m', 'torch.distributed.run', f'--nnodes={nodes}',
            f'--node_rank={rank}', f'--master_addr={address}',
            f'--master_port={port}', '--nproc_per_node=2',
            f'{TOOLS}/{tool}', *arguments, '--launcher', 'pytorch', *more]

    assert asked(script, *arguments, '2') == lines(1, 0, '127.0.0.1', 29500)
    assert asked(
        script, *arguments, '2', '--work-dir', 'a folder', NNODES='3',
        NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='1234',
    ) == lines(3, 1, '10.0.0.1', 1234, '--work-dir', 'a folder')


@pytest.mark.parametrize('environment, gpus, per_node, cpus, more', [
    ({}, 8, 8, 5, []),
    (dict(GPUS='2'), 2, 2, 5, []),
    (dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='3',
          SRUN_ARGS='--time=1 --qos=low'), 16, 4, 3, ['--time=1', '--qos=low']),
])
def test_srun_is_asked_for_a_task_for_each_gpu(
        asked, environment, gpus, per_node, cpus, more):
    assert asked('slurm_train.sh', 'part', 'a job', 'config.py', 'work dir',
                 '--amp', **environment) == [
        '-p', 'part', '--job-name=a job', f'--gres=gpu:{per_node}',
        f'--ntasks={gpus}', f'--ntasks-per-node={per_node}',
        f'--cpus-per-task={cpus}', '--kill-on-bad-exit=1', *more,
        'python-stub', '-u', f'{TOOLS}/train.py', 'config.py',
        '--work-dir=work dir', '--launcher=slurm', '--amp']


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_too_few_arguments_show_the_usage(script):
    done = subprocess.run(
        ['bash', TOOLS / script, 'one'], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('Usage: ')
