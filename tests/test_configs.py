"""Every config of the demos builds, with every method, here and from elsewhere.

Those for COCO, ADE20K and ImageNet are tested in test_real_configs.py.
"""

from itertools import cycle
from pathlib import Path

import pytest
import torch
from mmengine.registry import VISUALIZERS, init_default_scope

from mmrlkd.config.compose import load_config, method_names
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import HOOKS, MODELS, STRATEGIES
from mmrlkd.search import LevelRecipe, Recipe
from mmrlkd.search.evaluator import apply_recipe
from mmrlkd.search.settings import SearchSettings

ROOT = Path(__file__).parents[1] / 'configs'
TASKS = ('classification', 'detection', 'instance', 'segmentation')
LOGITS = ('kd', )
SEARCHES = ('controller', 'evolution', 'exhaustive')


@pytest.fixture(scope='module')
def check():
    import importlib.util
    spec = importlib.util.spec_from_file_location(
        'check', ROOT.parent / 'tools' / 'check.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', sorted(
    path.name for path in (ROOT / 'demo').glob('*.py')))
def test_builds_from_another_folder(name, tmp_path, monkeypatch):
    """A config that inherits it, elsewhere, has what it has."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = ['mmrlkd::demo/{name}']\n")
    cfg = load_config(path)
    assert cfg.to_dict() == load_config(ROOT / 'demo' / name).to_dict()
    init_default_scope(cfg.default_scope)
    assert type(VISUALIZERS.build(cfg.visualizer)).__name__ == (
        cfg.visualizer.type)
    if 'Distiller' in cfg.model.type:
        cfg.model.teacher.checkpoint = None
    model = MODELS.build(cfg.model)
    alone = name.endswith(('_student.py', '_teacher.py')) or name.startswith('budget_')
    assert isinstance(model, PyramidDistiller) == (not alone)


@pytest.mark.parametrize('method', method_names())
def test_every_method_builds(method, check):
    task = 'classification' if method in LOGITS else 'detection'
    options = {'model.selector.levels': ['P3']} if (
        method == 'fixed_subset') else None
    cfg = load_config(ROOT / f'demo/{task}.py', method, options)
    for hook in cfg.custom_hooks:
        HOOKS.build(hook.copy())
    model = check.build(cfg, skip_weights=True)
    assert f'mmrlkd.{type(model.selector).__name__}' == (
        cfg.model.selector.type)
    assert model.distils == ('NoneSelector' not in cfg.model.selector.type)
    assert (model.logit_distillation is not None) == (method in LOGITS)
    assert (model.balancing is not None) == ('balancer' in cfg.model)


@pytest.mark.parametrize('task', TASKS)
def test_a_demo_is_one_comparison(task):
    """Students alike, taught by the teacher that the demo trains, in as many
    updates; the teacher is wider."""
    teacher, student, pair = (
        load_config(ROOT / f'demo/{task}{end}.py')
        for end in ('_teacher', '_student', ''))
    folder = 'demo' if task == 'detection' else f'demo_{task}'
    assert pair.model.teacher == dict(
        config=f'mmrlkd::demo/{task}_teacher.py',
        checkpoint=f'work_dirs/{folder}/teacher/iter_900.pth')
    assert teacher.train_cfg.max_iters == 900
    assert pair.model.student == student.model
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator',
                'optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert pair[key] == student[key], key
    assert teacher.model.backbone.base_channels == (
        2 * student.model.backbone.base_channels)


@pytest.mark.parametrize('world', ['study', 'cameras'])
def test_a_world_is_one_comparison(world):
    """One student on one set of data; only the teacher of the cameras sees
    the first alone."""
    teacher, student, pair = (
        load_config(ROOT / f'demo/{world}{end}.py')
        for end in ('_teacher', '_student', ''))
    assert pair.model.teacher.checkpoint == (
        f'work_dirs/{world}/teacher/iter_{teacher.train_cfg.max_iters}.pth')
    assert pair.model.student == student.model
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator',
                'test_evaluator', 'optim_wrapper', 'param_scheduler',
                'train_cfg'):
        assert pair[key] == student[key], key
    for cfg in (teacher, student, pair):
        for loader in (cfg.train_dataloader, cfg.val_dataloader,
                       cfg.test_dataloader):
            assert loader.dataset.data_root == f'data/{world}/'
        assert cfg.val_evaluator.ann_file == f'data/{world}/annotations/val.json'
        assert (cfg.val_evaluator.strata[0] == 'camera') == (world == 'cameras')
        assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
    assert teacher.train_dataloader.dataset.ann_file == (
        'annotations/train_a.json' if world == 'cameras' else
        'annotations/train.json')
    held_out = pair.search.data.val_evaluator.ann_file
    assert held_out == f'data/{world}/annotations/search_val.json'


@pytest.mark.parametrize('method', SEARCHES)
def test_searches_are_complete(method, check):
    cfg = load_config(ROOT / 'demo/detection.py', method)
    settings = SearchSettings.of(cfg)
    tables = settings.vocabulary
    levels = cfg.model.levels
    recipe = Recipe(tuple(
        LevelRecipe(level, (level, ), loss, connector)
        for level, loss, connector in zip(
            levels, cycle(tables.losses or [None]),
            cycle(tables.connectors or [None]))))
    cfg.merge_from_dict(dict(settings.data))
    cfg.model = apply_recipe(cfg.model.to_dict(), recipe, tables)
    assert cfg.model.selector.levels == list(levels)
    for loader in cfg.train_dataloader, cfg.val_dataloader:
        assert 'search_' in loader.dataset.ann_file
        assert 'val' not in loader.dataset.data_prefix.img
    assert cfg.val_evaluator.ann_file.endswith('search_val.json')
    told = check.describe_search(settings, check.build(cfg, True), None)
    assert type(STRATEGIES.build(dict(settings.strategy))).__name__ in told


def test_check_says_what_is_wrong(
        check, run_config, tmp_path, capsys, monkeypatch):
    path = tmp_path / 'config.py'

    def sentence(cfg, *arguments):
        cfg.dump(path)
        with pytest.raises(SystemExit) as stop:
            check.main([str(path), *arguments])
        assert stop.value.code not in (0, None)
        return str(stop.value)

    cfg = run_config()
    cfg.dump(path)
    check.main([str(path)])
    shown = capsys.readouterr().out
    for word in ('P2', 'P5', 'neck.fpn_convs.0', '16×64×64 /4', '8×64×64 /4',
                 'ConvConnector', 'MSELoss', 'matched'):
        assert word in shown, shown

    assert "levels names 'P9'" in sentence(
        cfg, '--cfg-options', 'model.levels=(P2,P9)')
    empty = tmp_path / 'empty.json'
    empty.write_text('{"images": [], "annotations": [], "categories": []}')
    assert 'has no annotations' in sentence(
        cfg, '--cfg-options', f'train_dataloader.dataset.ann_file={empty}')
    assert 'is not a file' in sentence(
        cfg, '--cfg-options', 'train_dataloader.dataset.ann_file=gone.json')
    assert '3 phases for a schedule of 2' in sentence(
        cfg, '--cfg-options', 'train_cfg.max_iters=2')
    assert 'is not a file' in sentence(
        cfg, '--cfg-options', 'model.teacher.checkpoint=gone.pth')
    torch.save({}, tmp_path / 'none.pth')
    assert 'holds no weights' in sentence(
        cfg, '--cfg-options',
        f"model.teacher.checkpoint={tmp_path / 'none.pth'}")
