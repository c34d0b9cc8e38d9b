"""A run's environment, recorded by the tool and learned from without it."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
import torch

from mmrlkd.distillation.selection.recorded import (
    RecordedEnvironment,
    load_recording,
)
from mmrlkd.registry import POLICIES
from mmrlkd.rl.meta import MAML, ExactReward

ROOT = Path(__file__).parents[2]
POLICY = dict(
    type='mmrlkd.PolicySelector', context=['objects'], rollout_batches=2,
    policy=dict(type='mmrlkd.MLPPolicy', hidden=16),
    reward=dict(type='mmrlkd.AlignmentReward', efficiency=.2))


@pytest.fixture
def tool(plain_config_text):
    spec = importlib.util.spec_from_file_location(
        'record_tool', ROOT / 'tools/record_environment.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_is_recorded(tool, run_config, train, tmp_path, capsys):
    cfg = run_config(selector=POLICY)
    train(cfg)
    config, out = tmp_path / 'config.py', tmp_path / 'out/one.safetensors'
    cfg.dump(config)
    checkpoint = Path(cfg.work_dir, 'iter_8.pth')
    arguments = [str(config), str(checkpoint), '--images', '10',
                 '--augmentations', '2', '--out', str(out)]
    tool.main(arguments)
    printed = capsys.readouterr().out
    assert f'{out} is written: 20 images. The best subset for each' in printed
    recording, header = load_recording(
        out, hashlib.sha256(checkpoint.read_bytes()).hexdigest())
    assert header.config == str(config) and header.context == ('objects', )
    assert header.reward == dict(type='AlignmentReward')
    assert header.efficiency == .2
    assert header.space.names == ('P2', 'P3', 'P4', 'P5')
    # The same images, flipped or not.
    assert recording.context[:10].equal(recording.context[10:])
    assert not recording.global_feature[:10].equal(
        recording.global_feature[10:])

    environment = RecordedEnvironment.load(out)
    policy = POLICIES.build(dict(type='mmrlkd.MLPPolicy', hidden=16))
    policy.bind(environment.space, environment.horizon)
    adapted = MAML(policy, ExactReward(), lr=.1).fast_adapt(
        environment, shots=20, steps=20)
    assert environment.regret(adapted).mean() < (
        environment.regret(policy).mean())

    first = {key: value.clone() for key, value in recording.items()}
    tool.main(arguments)  # the same seed gives the same numbers
    again, _ = load_recording(out)
    for key, value in again.items():
        assert torch.equal(value, first[key]), key


def test_a_selector_without_reward_is_refused(
        tool, run_config, train, tmp_path):
    cfg = run_config(selector=dict(type='mmrlkd.UniformSelector'), phases=None,
                     total=2)
    train(cfg)
    config = tmp_path / 'config.py'
    cfg.dump(config)
    with pytest.raises(
            SystemExit, match='UniformSelector, which has no reward'):
        tool.main([str(config), str(Path(cfg.work_dir, 'iter_2.pth'))])


def test_options_are_checked(tool, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['config.py', 'iter_8.pth', '--images', '0'])
    assert '--images 0: accepted is a number >= 1' in capsys.readouterr().err
    assert tool.parse_args(['a/pair.py', 'b/iter_8.pth']).out == Path(
        'work_dirs/recordings/pair_iter_8.safetensors')
