"""Sentences for what a distiller's parts do not take."""

import pytest

from mmrlkd.config.inspection import check_config, check_plugs


@pytest.fixture
def check(run_config):
    """Check the tiny run with other values in its model."""

    def run(options: dict, **overrides) -> None:
        cfg = run_config(**overrides)
        cfg.merge_from_dict(options)
        check_plugs(cfg)

    return run


def test_the_tiny_run_is_as_it_should_be(check):
    check({'model.balancer': dict(type='mmrlkd.GradNorm', report_every=5),
           'model.costs': 'pixels', 'model.budget': 3, 'model.loss_weight': 1})


@pytest.mark.parametrize('key', ['model.connector', 'model.recipe.P3.connector'])
def test_the_channels_of_a_connector_are_derived_not_asked_for(check, key):
    check({key: dict(type='mmrlkd.ConvConnector')})
    with pytest.raises(ValueError, match=f'^{key}.student_channels: no option'):
        check({key: dict(type='mmrlkd.ConvConnector', student_channels=8)})


@pytest.mark.parametrize(('options', 'sentence'), [
    ({'model.loss_wieght': 1.0},
     r'^model\.loss_wieght: no option of PyramidDistiller; did you mean '
     r'loss_weight'),
    ({'model.selector.type': 'mmrlkd.PolicySelecter'},
     r"^model\.selector\.type is 'mmrlkd\.PolicySelecter', which is not a "
     r'selector; did you mean mmrlkd\.PolicySelector'),
    ({'model.loss': dict(type='CWD')},
     r"^model\.loss\.type is 'CWD', which is not a loss; did you mean "
     r'mmrlkd\.CWDLoss\?'),
    ({'model.loss': 'CWDLoss'},
     r"^model\.loss is 'CWDLoss'; accepted: dict\(type='CWDLoss', …\)"),
    ({'model.selector.reward.lambda': 0.5},
     r'^model\.selector\.reward\.lambda: no option of ResidualReward; '
     r'accepted: level_values, efficiency\.'),
    ({'model.selector.reward.efficiency': 'high'},
     r"^model\.selector\.reward\.efficiency is 'high'; accepted: a number"),
    ({'model.selector.learner.epochs': 'four'},
     r"^model\.selector\.learner\.epochs is 'four'; accepted: an integer"),
    ({'model.teacher.chekpoint': 'a.pth'},
     r'^model\.teacher\.chekpoint: no option of Teacher; did you mean '
     r'checkpoint or trust_checkpoint\?'),
    ({'model.selector.type': 'mmrlkd.GreedySelector'},
     r'model\.selector\.policy.*no option of GreedySelector, but of '
     r'PolicySelector.*_delete_=True'),
    ({'model.recipe': {'P3': dict(loss=dict(type='PKD'))}},
     r"^model\.recipe\.P3\.loss\.type is 'PKD'.*mmrlkd\.PKDLoss"),
    ({'custom_hooks.1.type': 'mmrlkd.PhasesHook'},
     r"^custom_hooks\.1\.type is 'mmrlkd\.PhasesHook'.*mmrlkd\.PhaseHook"),
    ({'custom_hooks.2.windw': 3},
     r'^custom_hooks\.2\.windw: no option of PolicyHealthHook; did you mean '
     r'window\?'),
    ({'model.levels': 'P3'}, r"^model\.levels is 'P3'; accepted: a list"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else '')
def test_a_wrong_word_is_named_with_its_path(check, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(options)


@pytest.mark.parametrize('key', ['train_cfg', 'optim_wrapper'])
def test_a_config_without_schedule_is_refused(run_config, key):
    cfg = run_config()
    cfg[key] = None
    with pytest.raises(ValueError, match=f'{key} is None, and without it'):
        check_config(cfg)


@pytest.mark.parametrize(('options', 'sentence'), [
    ({'train_dataloader.batch_size': 0}, r'train_dataloader: batch_size=0; accep'),
    ({'train_cfg.max_iters': -5}, r'train_cfg: max_iters=-5; accepted: .*>= 1'),
    ({'optim_wrapper.optimizer.type': 'Adamm'},
     r"optimizer\.type is 'Adamm', which is no optimizer; did you mean .*Adam"),
    ({'param_scheduler': [dict(type='MultiStep')]},
     r"param_scheduler\.0\.type is 'MultiStep', .* mean .*MultiStepLR"),
    ({'visualizer': dict(type='DetLocalVisualiser')},
     r"visualizer\.type is .*, which is no visualizer; did you mean DetLocalVisual"),
    ({'visualizer': dict(type='Visualizer', vis_backends=[dict(type='Wandb')])},
     r"visualizer\.vis_backends\.0\.type is 'Wandb', .*WandbVisBackend"),
    ({'train_dataloader.sampler': dict(type='InfinitSampler')},
     r"train_dataloader\.sampler\.type is .*did you mean .*InfiniteSampler"),
    ({'val_evaluator': dict(type='CocoMetrics')},
     r"val_evaluator\.type is .*is no metric; did you mean CocoMetric"),
    ({'load_from': 'none.pth'}, r'load_from: none\.pth .*is not a file; accepted'),
])
def test_what_no_run_can_start_with_is_refused(run_config, options, sentence):
    cfg = run_config()
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=sentence):
        check_config(cfg)


def test_an_optimizer_may_be_named_by_its_module(run_config):
    cfg = run_config()
    cfg.optim_wrapper.optimizer.type = 'torch.optim.SGD'
    check_config(cfg)


def test_an_evaluator_may_hold_metrics(run_config):
    cfg = run_config()
    cfg.val_evaluator = dict(type='Evaluator', metrics=[cfg.val_evaluator])
    check_config(cfg)


def test_a_run_without_checkpoints_is_accepted(check):
    check({}, default_hooks=dict(checkpoint=None))
