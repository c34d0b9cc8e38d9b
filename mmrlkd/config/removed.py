"""Configs that earlier versions had, and what gives the same today."""

from pathlib import Path

from mmengine.config import Config

from mmrlkd.files import relative_to

#: By path below ``configs``: the options of a command line that give the same.
METHODS = {
    'dkd': '--method none --cfg-options model.logit_loss.type=mmrlkd.DKDLoss',
    'dist': '--method none --cfg-options model.logit_loss.type=mmrlkd.DISTLoss',
    'ppo_one_step': '--method ppo --cfg-options model.selector.horizon=1',
    'ppo_quality_only':
        '--method ppo --cfg-options model.selector.reward.efficiency=0',
    'ppo_greedy':
        '--method ppo --cfg-options model.selector.greedy=True '
        'model.selector.learner.gamma=0',
    'manual_deep':
        '--method uniform --cfg-options '
        'model.selector.type=mmrlkd.ManualDeepSelector',
    'manual_shallow':
        '--method uniform --cfg-options '
        'model.selector.type=mmrlkd.ManualShallowSelector',
    'opposite':
        '--method shuffled --cfg-options model.selector.control=opposite',
    'same_rates': '--method shuffled --cfg-options model.selector.control=rates',
    'ema_balancer':
        '--method uniform --cfg-options model.balancer.type=mmrlkd.EMABalancer '
        'model.balancer.report_every=50',
    'upgrad':
        '--method uniform --cfg-options '
        'model.balancer.type=mmrlkd.TorchJDBalancer',
    'darts_second_order': '--method darts --cfg-options model.selector.order=2',
    'random_search':
        '--method exhaustive --cfg-options '
        'search.strategy.type=mmrlkd.RandomSearch search.strategy.evaluations=8',
}
CONFIGS = {
    **{f'methods/{name}.py': now for name, now in METHODS.items()},
    **{f'meta/without_{task}.py':
       f'configs/meta/demo.py --cfg-options left_out={task} '
       f'--work-dir work_dirs/meta/without_{task}'
       for task in ('classification', 'detection', 'instance', 'segmentation')},
    '_base_/datasets/scenes_instance.py':
        "_base_ = 'mmrlkd::demo/instance_student.py', for the data set and its "
        'student',
    **dict.fromkeys(
        ('demo/augmented.py', 'demo/augmented_student.py'),
        'configs/demo/study.py with the train_dataloader of '
        'projects/experiments/studies/augmentations.py'),
}


def read_config(path: str | Path) -> Config:
    """Read a config file, with those that it inherits.

    Raises:
        FileNotFoundError: one of them is not there; says what gives the same if
            an earlier version had it.
    """
    try:
        return Config.fromfile(path)
    except FileNotFoundError as error:
        for name, now in CONFIGS.items():
            if f'configs/{name}' in str(error):
                raise FileNotFoundError(
                    f'{name} was removed; accepted: {now}') from error
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'CONFIG {path}{relative_to(path)} is not a file; accepted: the '
                'path of a config, such as configs/demo/detection.py.') from error
        raise
