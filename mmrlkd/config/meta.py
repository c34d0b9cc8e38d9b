"""What a config of meta-learning says.

    tasks = dict(detection=dict(
        config='configs/demo/detection.py',           # of the pair
        recording='work_dirs/meta/detection.safetensors',
        checkpoint='work_dirs/meta/detection.pth'))   # the student's; optional
    left_out = 'classification'                       # tested, not learnt from
    policy = dict(type='mmrlkd.TokenPolicy', width=16, hidden=32, layers=1)
    learner = dict(type='mmrlkd.MAML', lr=0.1, meta_lr=3e-3)
    horizon = 1
    iterations = 300
    interval = 50
    seed = 0
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmrlkd.arguments import check_choice, check_integer, refuse
from mmrlkd.distillation.selection.meta_policy import MetaPolicy
from mmrlkd.distillation.selection.policies.token import TokenPolicy
from mmrlkd.distillation.selection.recorded import (
    RecordedEnvironment,
    load_recording,
)
from mmrlkd.engine.meta_training import MetaTraining
from mmrlkd.files import digest
from mmrlkd.registry import META_LEARNERS, POLICIES
from mmrlkd.rl.meta import ExactReward, MetaLearner

OWNER = 'meta_train'
#: What a config may say.
KEYS = ('tasks', 'left_out', 'policy', 'learner', 'horizon', 'iterations',
        'interval', 'seed')


@dataclass(frozen=True)
class RecordedTasks:
    """Environments with a common reward.

    Attributes:
        environments: by the task's name.
        reward: config of the reward.
        digests: SHA-256 of each recording.
    """
    environments: Mapping[str, RecordedEnvironment]
    reward: Mapping[str, Any]
    digests: Mapping[str, str]


def load_recorded_tasks(tasks: Mapping[str, Mapping[str, Any] | None],
                        horizon: int) -> RecordedTasks:
    """The environments of ``tasks``; see the module.

    Raises:
        ValueError: a recording is of another pair or another student, or the
            tasks have not all the same reward.
    """
    named = {name: task for name, task in tasks.items() if task}
    if not named:
        refuse(OWNER, 'tasks', dict(tasks), 'at least one task')
    environments, headers = {}, {}
    for name, task in named.items():
        for key in ('config', 'recording'):
            if not isinstance(task.get(key), str):
                refuse(OWNER, f'tasks.{name}.{key}', task.get(key),
                       'the path of a file')
        student = task.get('checkpoint')
        recording, header = load_recording(
            task['recording'], student and digest(student))
        if Path(header.config).parts[-2:] != Path(task['config']).parts[-2:]:
            refuse(OWNER, f'tasks.{name}.recording', task['recording'],
                   f'a recording of {task["config"]}; this one is of '
                   f'{header.config}')
        headers[name] = header
        environments[name] = RecordedEnvironment(
            recording, header.space, horizon, header.efficiency)
    first = next(iter(headers))
    for name, header in headers.items():
        if header.reward != headers[first].reward:
            raise ValueError(
                f'{OWNER}: tasks.{name} has the reward {header.reward} and '
                f'tasks.{first} {headers[first].reward}; accepted: tasks with '
                'a common reward.')
    return RecordedTasks(
        environments, headers[first].reward,
        {name: digest(task['recording']) for name, task in named.items()})


def build_learner(policy: Mapping[str, Any], learner: Mapping[str, Any],
                  seed: int) -> MetaLearner:
    """A meta-learner of a fresh policy, drawn with ``seed``.

    Raises:
        ValueError: the policy does not fit tasks of other levels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = POLICIES.build(dict(policy))
    if not isinstance(built, TokenPolicy):
        refuse(OWNER, 'policy.type', policy['type'],
               'TokenPolicy, whose weights fit any levels')
    return META_LEARNERS.build({**learner, 'policy': built,
                                'objective': ExactReward()})


def build_training(cfg: Config) -> tuple[MetaTraining, RecordedTasks]:
    """The training that a config describes; see the module."""
    horizon = check_integer(OWNER, 'horizon', cfg.get('horizon', 1), 1)
    seed = check_integer(OWNER, 'seed', cfg.get('seed', 0), 0)
    tasks = load_recorded_tasks(cfg.get('tasks') or {}, horizon)
    left_out = cfg.get('left_out')
    if left_out is not None:
        check_choice(OWNER, 'left_out', left_out, list(tasks.environments))
    learnt = {name: task for name, task in tasks.environments.items()
              if name != left_out}
    if not learnt:
        refuse(OWNER, 'left_out', left_out, 'a task of at least two')
    others = {name: task for name, task in tasks.environments.items()
              if name == left_out}
    learner = build_learner(cfg.policy, cfg.learner, seed)
    return MetaTraining(
        learner, learnt, others,
        check_integer(OWNER, 'iterations', cfg.get('iterations', 300), 1),
        check_integer(OWNER, 'interval', cfg.get('interval', 50), 1), seed,
        identity=dict(
            policy=dict(cfg.policy), learner=dict(cfg.learner),
            iterations=cfg.get('iterations', 300), seed=seed, horizon=horizon,
            recordings={name: tasks.digests[name] for name in learnt},
            tested=sorted(others))), tasks


def result_of(training: MetaTraining, tasks: RecordedTasks,
              horizon: int) -> MetaPolicy:
    """What a training has learnt, to be written to a file."""
    learner = training.learner
    assert isinstance(learner.policy, TokenPolicy)
    return MetaPolicy(learner.policy, tasks.reward, horizon, learner.lr,
                      tuple(training.tasks))
