"""The configs of meta-learning."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmrlkd.config.compose import load_config
from mmrlkd.config.meta import build_learner

ROOT = Path(__file__).parents[2]
TASKS = ('detection', 'instance', 'segmentation', 'classification')


def test_the_demo_learns_from_all_tasks():
    cfg = Config.fromfile(ROOT / 'configs/meta/demo.py')
    assert tuple(cfg.tasks) == TASKS
    for task in cfg.tasks.values():
        assert (ROOT / task.config).is_file()
    learner = build_learner(cfg.policy, cfg.learner, cfg.seed)
    assert (learner.steps, learner.shots) == (5, 100)


@pytest.mark.parametrize('name', TASKS)
def test_the_method_has_the_meta_policys_architecture(name):
    """And the reward and horizon that tasks are recorded with."""
    meta = Config.fromfile(ROOT / 'configs/meta/demo.py')
    cfg = load_config(ROOT / f'configs/demo/{name}.py',
                      ROOT / 'configs/meta/method.py')
    selector = cfg.model.selector
    assert selector.policy == meta.policy and selector.horizon == meta.horizon
    assert selector.reward.type == 'mmrlkd.AlignmentReward'
    assert selector.learner.type == 'mmrlkd.ExpectedReward'
