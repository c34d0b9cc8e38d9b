"""Every config of the demos builds, and says what it distils.

Those for COCO, ADE20K and ImageNet are tested in test_real_configs.py.
"""

from itertools import cycle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import MODELS, STRATEGIES
from mmrlkd.search import LevelRecipe, Recipe
from mmrlkd.search.evaluator import apply_recipe
from mmrlkd.search.settings import SearchSettings

ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(str(path.relative_to(ROOT))
                 for path in (ROOT / 'demo').rglob('*.py'))


@pytest.fixture(scope='module')
def check():
    import importlib.util
    spec = importlib.util.spec_from_file_location(
        'check', ROOT.parent / 'tools' / 'check.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', CONFIGS)
def test_builds(name, check, monkeypatch):
    monkeypatch.chdir(ROOT.parent)
    cfg = Config.fromfile(ROOT / name)
    if 'Distiller' not in cfg.model.type:
        init_default_scope(cfg.default_scope)
        MODELS.build(cfg.model)
        return
    model = check.build(cfg, skip_weights=True)
    assert isinstance(model, PyramidDistiller)
    if not model.distils:
        assert 'learns from the logits' in check.describe_logits(model)
        return
    table = check.describe(model)
    assert table.row_count == len(model.levels)


@pytest.mark.parametrize('task', ['classification', 'segmentation', 'instance'])
def test_a_demo_is_one_comparison(task):
    """Students alike, taught by the teacher that the demo trains, in as many
    updates; the teacher is wider."""
    folder = ROOT / 'demo' / task
    configs = {path.stem: Config.fromfile(path)
               for path in folder.glob('*.py')}
    teacher, student = configs.pop('teacher'), configs.pop('student')
    assert set(configs) >= {'uniform', 'ppo'}
    assert ('kd' in configs) == (task != 'instance')
    last = f"teacher/iter_{teacher.train_cfg.max_iters}.pth"
    updates = student.train_cfg.max_iters
    for name, cfg in configs.items():
        assert cfg.model.student == student.model, name
        assert cfg.model.teacher == dict(
            config=f'mmrlkd::demo/{task}/teacher.py',
            checkpoint=f'work_dirs/demo_{task}/{last}'), name
        assert updates == cfg.train_cfg.max_iters, name
        for key in ('train_dataloader', 'val_dataloader', 'val_evaluator',
                    'optim_wrapper', 'param_scheduler'):
            assert cfg[key] == student[key], (name, key)
    assert teacher.model.backbone.base_channels == (
        2 * student.model.backbone.base_channels)


@pytest.mark.parametrize('name', [
    name for name in CONFIGS if 'search' in Config.fromfile(ROOT / name)])
def test_searches_are_complete(name, check):
    cfg = Config.fromfile(ROOT / name)
    settings = SearchSettings.of(cfg)
    if settings.strategy is None:
        assert Config.fromfile(
            (ROOT / name).parent / settings.then).model.type == cfg.model.type
        return
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
    told = check.describe_search(settings, check.build(cfg, True))
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
    for word in ('P2', 'P5', 'neck[0]', '16×64×64 /4', '8×64×64 /4',
                 'ConvConnector', 'MSELoss', '100% matched'):
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
    assert 'weights do not match' in sentence(
        cfg, '--cfg-options',
        f"model.teacher.checkpoint={tmp_path / 'none.pth'}")


def test_the_readme_shows_the_real_config():
    config = ROOT / 'detection/rl-pyramidkd_faster-rcnn_r101-r50_fpn_coco.py'
    readme = (ROOT.parent / 'README.md').read_text()
    assert f'```python\n{config.read_text()}```' in readme
