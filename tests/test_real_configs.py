"""The configs for COCO, ADE20K and ImageNet.

Each pair is built once; of its other methods, what differs from it.
"""

import copy
import functools
import re
import runpy
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.utils import get_installed_path

from mmrlkd.config.inspection import check_plugs, settings_of
from mmrlkd.config.student import student_config
from mmrlkd.distillation.logits import LogitDistillation
from mmrlkd.engine.phase_hook import check_phases, phases_of
from mmrlkd.registry import HOOKS, SELECTORS, STRATEGIES
from mmrlkd.search import LevelRecipe, Recipe
from mmrlkd.search.evaluator import apply_recipe
from mmrlkd.search.settings import SearchSettings

ROOT = Path(__file__).parents[1] / 'configs'
TASKS = ('detection', 'instance', 'segmentation', 'classification')
#: Of the methods, the one that the others of a pair inherit.
FIRST = 'rl-pyramidkd'
PAIRS = sorted(path for task in TASKS
               for path in (ROOT / task).glob(f'{FIRST}_*.py'))
#: Searches that are a training, with data of their own.
IN_TRAINING = ('darts', 'darts-second-order', 'gdas')

pair = pytest.mark.parametrize(
    'path', PAIRS, ids=lambda path: path.stem.removeprefix(f'{FIRST}_'))
Read = Callable[[Path | str], Config]


@pytest.fixture(scope='module')
def read() -> Iterator[Read]:
    """Reads a config, and each only once; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        # For each 'library::…' mmengine reads all metafiles of the library.
        patch.setattr(config_utils, '_get_cfg_metainfo', functools.cache(
            config_utils._get_cfg_metainfo))

        @functools.cache
        def read(path: Path | str) -> Config:
            return (Config.fromfile(path) if isinstance(path, Path) else
                    Config.fromstring(f'_base_ = [{path!r}]', '.py'))

        yield read


@pytest.fixture(scope='module')
def build() -> Callable:
    return runpy.run_path(str(ROOT.parent / 'tools/check.py'))['build']


def methods_of(path: Path) -> dict[str, Path]:
    """The configs of a pair, by method."""
    name = path.name.removeprefix(FIRST)
    return {each.name.removesuffix(name): each
            for each in path.parent.glob(f'*{name}')}


def own_student(path: Path) -> str:
    """``library::config`` that a pair's student comes from."""
    return re.match(r"_base_ = \['(\w+::[^']+)'", path.read_text())[1]


def length_of(cfg: Config) -> int:
    return cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters


def test_there_are_the_pairs_that_are_promised() -> None:
    assert [path.parent.name for path in PAIRS] == [
        *['classification'] * 2, *['detection'] * 3, 'instance',
        *['segmentation'] * 2]


@pair
def test_each_pair_has_every_method(path: Path) -> None:
    known = {each.stem.replace('_', '-')
             for each in (ROOT / '_base_/methods').glob('*.py')}
    known = {name for name in known
             if name != 'ppo' and not name.startswith(f'{FIRST}-')}
    if path.parent.name in ('detection', 'instance'):
        known.remove('kd')  # detectors have no logits here
    assert set(methods_of(path)) == known


@pair
def test_builds(path: Path, build: Callable, read: Read) -> None:
    """The pair, and each method on it."""
    first = read(path)
    model = build(copy.deepcopy(first), skip_weights=True)
    assert [level.name for level in model.levels] == list(first.model.levels)
    assert [level.name for level in model.teacher.levels] == list(
        first.model.levels)
    for name, each in methods_of(path).items():
        cfg = read(each)
        for key in ('type', 'student', 'teacher', 'levels', 'costs'):
            assert cfg.model.get(key) == first.model.get(key), (name, key)
        for hook in cfg.custom_hooks:
            HOOKS.build(copy.deepcopy(hook))
        check_plugs(cfg)
        check_phases(cfg, model)
        selector = SELECTORS.build(copy.deepcopy(cfg.model.selector))
        if selector.uses_teacher:
            selector.bind(model.distillation.space)
        if 'balancer' in cfg.model:
            model.balance(dict(cfg.model.balancer))
        if 'logit_loss' in cfg.model:
            assert LogitDistillation(
                model._adapter, model.teacher.adapter,
                cfg.model.logit_loss).gflops > 0


@pair
def test_the_student_is_the_librarys_own(path: Path, read: Read) -> None:
    """What the library trains, on its data, judged by its evaluator."""
    library = read(own_student(path))
    for name, each in methods_of(path).items():
        cfg = read(each)
        plain = student_config(cfg)
        model = {key: value for key, value in plain.model.items()
                 if key != '_scope_'}
        assert model == {key: value for key, value in library.model.items()
                         if key != '_scope_'}, name
        same = ['test_dataloader', 'test_evaluator', 'optim_wrapper',
                'default_scope']
        if name not in IN_TRAINING:
            same += ['train_dataloader', 'val_dataloader', 'val_evaluator']
        for key in same:
            assert cfg[key] == library[key], (name, key)


@pair
def test_methods_update_the_student_equally_often(
        path: Path, read: Read) -> None:
    names = set(methods_of(path)) - set(IN_TRAINING)
    updates = {}
    for name in names:
        cfg = read(methods_of(path)[name])
        updates[name] = length_of(cfg)
    assert len(set(updates.values())) == 1, updates
    if path.parent.name != 'detection' and path.parent.name != 'instance':
        assert updates['uniform'] == length_of(read(own_student(path)))


@pair
def test_a_backbone_that_is_distilled_is_not_frozen(
        path: Path, read: Read) -> None:
    cfg = read(path)
    assert cfg.model.levels[0][0] == 'P' or not any(
        phase.freeze_backbone for phase in phases_of(cfg))


@pytest.mark.parametrize(('name', 'epoch'), [
    ('resnet34-resnet18_in1k', 30), ('resnet50-mobilenet-v2_in1k', 1)])
def test_a_classifiers_schedule_counts_updates(
        read: Read, name: str, epoch: int) -> None:
    """The first step comes after the library's number of epochs, counted in
    iterations, of which the hook skips those that update nothing."""
    cfg = read(ROOT / f'classification/{FIRST}_{name}.py')
    assert cfg.default_hooks.param_scheduler.type == (
        'mmrlkd.UpdateParamSchedulerHook')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = PARAM_SCHEDULERS.build(
        dict(cfg.param_scheduler), default_args=dict(
            optimizer=optimizer, epoch_length=7, verbose=False))
    assert not scheduler.by_epoch
    rates = []
    for _ in range(epoch * 7):
        optimizer.step()
        rates.append(scheduler.get_last_value()[0])
        scheduler.step()
    assert set(rates) == {1.0}
    assert scheduler.get_last_value()[0] < 1.0


def trained_and_scored_on_training_images(cfg: Config, library: Config) -> None:
    """Both loaders read parts of what the library trains on."""
    source = library.train_dataloader.dataset
    for loader, part in ((cfg.train_dataloader, 'train'),
                         (cfg.val_dataloader, 'val')):
        dataset = loader.dataset
        assert Path(dataset.ann_file).stem == f'search_{part}'
        assert dataset.data_root == source.data_root
        for key in ('data_prefix', 'split'):
            assert dataset.get(key) == source.get(key)
    if 'ann_file' in library.val_evaluator:
        assert cfg.val_evaluator.ann_file == (
            'data/coco/annotations/search_val.json')


@pair
def test_searches_are_complete(path: Path, read: Read) -> None:
    library = read(own_student(path))
    first = read(path)
    found = 0
    for name, each in methods_of(path).items():
        cfg = copy.deepcopy(read(each))
        if 'search' not in cfg:
            continue
        found += 1
        settings = SearchSettings.of(cfg)
        assert settings.metric.split('/')[-1] in {
            'detection': ['bbox_mAP'], 'instance': ['segm_mAP'],
            'segmentation': ['mIoU'], 'classification': ['top1'],
        }[path.parent.name]
        if settings.strategy is None:
            assert name in IN_TRAINING
            then = read(each.parent / settings.then)
            assert then == read(methods_of(path)['uniform'])
            held_out, = settings_of(cfg.custom_hooks, 'dataloader')
            assert held_out.sampler.type == 'InfiniteSampler'
            assert held_out.dataset == cfg.train_dataloader.dataset | dict(
                ann_file=cfg.val_dataloader.dataset.ann_file)
            # An endless sampler's epochs would not end.
            assert cfg.train_dataloader.sampler == (
                library.train_dataloader.sampler)
        else:
            STRATEGIES.build(dict(settings.strategy))
            assert settings.evaluation().shared_iterations
            tables = settings.vocabulary
            recipe = Recipe(tuple(
                LevelRecipe(level, (level, ), loss, connector)
                for level, loss, connector in zip(
                    first.model.levels, cycle(tables.losses or [None]),
                    cycle(tables.connectors or [None]))))
            model = apply_recipe(cfg.model.to_dict(), recipe, tables)
            assert model['selector']['levels'] == list(first.model.levels)
            cfg.merge_from_dict(dict(settings.data))
        trained_and_scored_on_training_images(cfg, library)
    assert found == len(IN_TRAINING) + 4


# -- what was published -----------------------------------------------------


@functools.cache
def entries(metafile: Path) -> list[Config]:
    return Config.fromfile(metafile).get('Models', [])


def published() -> list:
    index = Config.fromfile(ROOT.parent / 'model-index.yml')
    return [entry for path in index.Import
            for entry in entries(ROOT.parent / path)]


def installed(entry: Config) -> Config:
    """The library's own entry of the same weights."""
    library, _, config = entry.Config.partition('::')
    folder = Path(get_installed_path(library), '.mim/configs')
    assert (folder / config).is_file()
    path = folder / entry.Source.partition('/configs/')[2]
    found, = (each for each in entries(path) if each.Weights == entry.Weights)
    assert found.Config == f'configs/{config}'
    return found


def metrics(entry: Config) -> dict[str, float]:
    results = entry.Results
    return {f'{result.Dataset} {name}': value for result in (
        [results] if isinstance(results, dict) else results)
        for name, value in result.Metrics.items()}


def test_published_numbers_are_the_librarys() -> None:
    assert len(published()) == 19
    for entry in published():
        assert entry.Published is True, entry.Name
        mine, theirs = metrics(entry), metrics(installed(entry))
        assert mine and mine.items() <= theirs.items(), entry.Name


@pair
def test_a_pairs_models_are_published(path: Path, read: Read) -> None:
    """Its teacher's weights and its student's baseline; the documentation
    says where the weights are from."""
    by_config = {entry.Config: entry for entry in entries(
        path.parent / 'metafile.yml')}
    assert by_config[own_student(path)].Metadata.Role.startswith('student')
    teacher = read(path).model.teacher
    entry = by_config[teacher.config]
    assert entry.Metadata.Role == 'teacher'
    name = Path(teacher.checkpoint).name
    assert teacher.checkpoint == f'checkpoints/{name}'
    assert Path(entry.Weights).name.startswith(name.removesuffix('.pth'))
    documented = (ROOT.parent / 'docs/data_and_checkpoints.md').read_text()
    assert f'| `{name}` | <{entry.Weights}> |' in documented


def test_the_docs_list_every_pair_and_every_baseline() -> None:
    docs = ROOT.parent / 'docs'
    pairs = (docs / 'README.md').read_text()
    for path in PAIRS:
        name = path.stem.removeprefix(f'{FIRST}_')
        assert f'| `{name}` |' in pairs, name
    table = (docs / 'data_and_checkpoints.md').read_text().partition(
        '## Published baselines')[2]
    for entry in published():
        for value in metrics(entry).values():
            assert f' {value:g}' in table, (entry.Name, value)
