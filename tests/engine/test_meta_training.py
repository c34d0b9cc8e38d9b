"""The outer loop: its log, and that it continues to the same result."""

import json

import pytest
import torch

from mmrlkd.config.meta import build_learner
from mmrlkd.engine.meta_training import LOG, MetaTraining

POLICY = dict(type='mmrlkd.TokenPolicy', width=3, hidden=8, layers=1)
MAML = dict(type='mmrlkd.MAML', lr=.5, meta_lr=3e-2, steps=2, shots=8)


@pytest.fixture
def make(recorded_task):

    def make(iterations=6, identity=None):
        tasks = dict(one=recorded_task(seed=1), two=recorded_task(4, 5, seed=2))
        return MetaTraining(
            build_learner(POLICY, MAML, 3), tasks,
            dict(three=recorded_task(2, 3, seed=3)), iterations, 2, 7,
            identity)

    return make


class Killed(Exception):
    """Instead of a signal."""


@pytest.mark.parametrize('after', [1, 2, 5])
def test_continues_to_the_same_result(make, tmp_path, after):
    whole = make()
    log = whole.run(tmp_path / 'whole')

    def kill(done, line):
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        make().run(tmp_path / 'parts', kill)
    torch.manual_seed(after)  # whatever the new process did before
    resumed = make()
    assert resumed.run(tmp_path / 'parts') == log
    for name, value in whole.learner.policy.state_dict().items():
        assert value.equal(resumed.learner.policy.state_dict()[name]), name
    assert json.loads((tmp_path / 'parts' / LOG).read_text()) == log
    assert make().run(tmp_path / 'parts') == log  # there is nothing to do


def test_the_log_tells_each_task_before_and_after(make):
    training = make()
    log = training.run()
    assert [line['iteration'] for line in log] == [0, 2, 4, 6]
    for line in log:
        assert list(line['regret']) == ['one', 'two', 'three']
    assert 'after' in log[1] and 'after' not in log[0]
    # By hand, of the images that were not adapted to.
    torch.manual_seed(training.seed)
    task = training.others['three']
    order = torch.randperm(task.batch_size)
    rest = task.take(order[8:])
    policy = training.learner.fast_adapt(task.take(order[:8]), 8, 0)
    assert log[-1]['regret']['three']['before'] == pytest.approx(
        rest.regret(policy).mean().item())


def test_what_is_tested_only_teaches_nothing(make):
    one, other = make(2), make(2)
    other.others['three'].recording.gains.neg_()
    one.run(), other.run()
    for name, value in one.learner.policy.state_dict().items():
        assert value.equal(other.learner.policy.state_dict()[name]), name


def test_another_training_is_refused(make, tmp_path):
    make(identity=dict(lr=1)).run(tmp_path)
    with pytest.raises(ValueError, match='is of a training with other settings'):
        make(identity=dict(lr=2)).run(tmp_path)
