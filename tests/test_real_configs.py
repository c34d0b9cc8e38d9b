"""The pairs for COCO, ADE20K and ImageNet: each builds, as its library's own."""

import functools
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path

from mmrlkd.config.compose import load_config
from mmrlkd.config.inspection import check_plugs
from mmrlkd.search.in_training import hold_out
from mmrlkd.search.settings import SearchSettings

ROOT = Path(__file__).parents[1] / 'configs'
TASKS = ('detection', 'instance', 'segmentation', 'classification')
PAIRS = sorted(path for task in TASKS for path in (ROOT / task).glob('*.py'))

pair = pytest.mark.parametrize('path', PAIRS, ids=lambda path: path.stem)


def read(path: Path | str, method: str | None = None) -> Config:
    """A pair's config, or a library's own by its name."""
    return (load_config(path, method) if isinstance(path, Path) else
            Config.fromstring(f'_base_ = [{path!r}]', '.py'))


@pytest.fixture(scope='module')
def build() -> Callable:
    return runpy.run_path(str(ROOT.parent / 'tools/check.py'))['build']


def own_student(path: Path) -> str:
    """``library::config`` that a pair's student comes from."""
    return re.match(r"_base_ = \['(\w+::[^']+)'", path.read_text())[1]


def test_every_documented_pair_has_a_config() -> None:
    assert [path.parent.name for path in PAIRS] == [
        *['classification'] * 2, *['detection'] * 3, 'instance',
        *['segmentation'] * 2]


@pair
def test_a_pair_builds_with_its_levels(path: Path, build: Callable) -> None:
    cfg = read(path)
    check_plugs(cfg)
    cfg.model.probe_size = 128  # the smallest of five levels is one pixel
    model = build(cfg, skip_weights=True)
    for levels in model.levels, model.teacher.levels:
        assert [level.name for level in levels] == list(cfg.model.levels)
    assert type(model.selector).__name__ == 'PolicySelector'


@pair
def test_can_be_inherited_from_another_folder(
        path: Path, tmp_path: Path) -> None:
    other = tmp_path / 'other.py'
    other.write_text(f"_base_ = ['mmrlkd::{path.parent.name}/{path.name}']\n")
    assert read(other).to_dict() == read(path).to_dict()


@pair
def test_the_student_is_the_librarys_own(path: Path) -> None:
    """What the library trains, on its data, by its schedule, judged by its
    evaluator; only the loop may be seeded."""
    library = read(own_student(path))
    cfg = read(path)
    assert {key: value for key, value in cfg.model.student.items()
            if key != '_scope_'} == {
                key: value for key, value in library.model.items()
                if key != '_scope_'}
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator',
                'test_dataloader', 'test_evaluator', 'optim_wrapper',
                'param_scheduler', 'default_scope'):
        assert cfg[key] == library[key], key
    for key, value in library.train_cfg.items():
        assert key == 'type' or cfg.train_cfg[key] == value, key


@pair
def test_a_search_trains_and_scores_on_training_images(path: Path) -> None:
    library = read(own_student(path))
    cfg = read(path, 'darts')
    settings = SearchSettings.of(cfg)
    assert settings.metric.split('/')[-1] in {
        'detection': ['bbox_mAP'], 'instance': ['segm_mAP'],
        'segmentation': ['mIoU'], 'classification': ['top1'],
    }[path.parent.name]
    assert settings.evaluation().shared_iterations
    hold_out(cfg, settings)
    source = library.train_dataloader.dataset
    for loader, part in ((cfg.train_dataloader, 'train'),
                         (cfg.val_dataloader, 'val'),
                         (cfg.custom_hooks[-1].dataloader, 'val')):
        dataset = loader.dataset
        assert Path(dataset.ann_file).stem == f'search_{part}'
        assert dataset.data_root == source.data_root
        for key in ('data_prefix', 'split'):
            assert dataset.get(key) == source.get(key)


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
def test_a_pairs_models_are_published(path: Path) -> None:
    """Its teacher's weights and its student's baseline; the documentation
    says where the weights are from."""
    by_config = {entry.Config: entry for entry in entries(
        path.parent / 'metafile.yml')}
    assert by_config[own_student(path)].Metadata.Role.startswith('student')
    teacher = read(path, None).model.teacher
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
        name = path.stem
        assert f'| `{name}` |' in pairs, name
    table = (docs / 'data_and_checkpoints.md').read_text().partition(
        '## Published baselines')[2]
    for entry in published():
        for value in metrics(entry).values():
            assert f' {value:g}' in table, (entry.Name, value)
