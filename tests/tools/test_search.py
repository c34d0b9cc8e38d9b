"""Search, and train with what was found."""

import json
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

from mmrlkd.config.compose import load_config
from mmrlkd.registry import MODELS
from mmrlkd.search.history import History

TOOL = Path(__file__).parents[2] / 'tools/search.py'
METRIC = 'coco/bbox_mAP'


@pytest.fixture
def config_file(run_config, plain_config_text, tiny_scenes, tmp_path):

    def write(**search):
        cfg = run_config(
            selector=dict(type='mmrlkd.UniformSelector'), phases=None)
        cfg.pop('experiment_name', None)
        cfg.search = dict(
            metric=METRIC,
            strategy=dict(type='mmrlkd.RandomSearch', evaluations=3),
            evaluator=dict(iterations=1, shared_iterations=1),
            data=dict(
                train_dataloader=dict(
                    dataset=dict(ann_file='annotations/search_train.json')),
                val_dataloader=dict(dataset=dict(
                    ann_file='annotations/search_val.json',
                    data_prefix=dict(img='train/'))),
                val_evaluator=dict(ann_file=str(
                    tiny_scenes / 'annotations/search_val.json'))))
        for key, value in search.items():
            cfg.search[key] = value
        path = tmp_path / 'config.py'
        cfg.dump(path)
        return path

    return write


def search(config, work_dir, *arguments):
    runpy.run_path(str(TOOL))['main'](
        [str(config), '--work-dir', str(work_dir), *arguments])


def test_a_search_continues_and_writes_a_config_of_its_result(
        config_file, tmp_path, capsys):
    config, work_dir = config_file(), tmp_path / 'work'
    search(config, work_dir)
    said = capsys.readouterr().out
    assert '3/3 candidates, best' in said and 'Train with it' in said
    history = History(work_dir / 'search/history.jsonl')
    assert len(history) == 3
    # 13 images to train on, 3 to score on, none of the validation split.
    assert {t.outcome.images for t in history.trials} == {4 + 3}
    found = json.loads((work_dir / 'search/incumbent.json').read_text())
    assert found['images'] == 3 * 7 + 4  # and the shared student's batch
    assert found['score'] == max(t.outcome.score for t in history.trials)

    trained = Config.fromfile(work_dir / 'found.py')
    assert 'search' not in trained
    assert trained.model.selector.levels == found['levels']
    assert trained.train_dataloader.dataset.ann_file.endswith('/train.json')
    assert MODELS.build(trained.model).selector.needs_gradients is False

    # Killed after the first candidate: only the others are evaluated.
    file = work_dir / 'search/history.jsonl'
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b''.join(lines[:2]) + lines[2][:10])
    search(config, work_dir)
    again = History(file)
    assert [t.recipe for t in again.trials] == [
        t.recipe for t in history.trials]
    assert [t.outcome.score for t in again.trials] == [
        t.outcome.score for t in history.trials]
    assert file.read_bytes().splitlines()[1] == lines[1].strip()


def test_options_reach_the_search_and_what_is_found(config_file, tmp_path):
    config = config_file(evaluator=dict(iterations=1))
    search(config, tmp_path / 'work', '--cfg-options',
           'search.strategy.evaluations=1', 'model.loss_weight=0.5')
    assert len(History(tmp_path / 'work/search/history.jsonl')) == 1
    assert Config.fromfile(
        tmp_path / 'work/found.py').model.loss_weight == 0.5


def test_recipes_keep_a_budget_that_all_levels_exceed(
        config_file, tmp_path, capsys):
    """Of the subsets of P2 to P5 at (4, 2, 1, 0.5), six cost at most 3."""
    config = config_file(strategy=dict(type='mmrlkd.ExhaustiveSearch'))
    options = ['--cfg-options', 'model.budget=3']
    runpy.run_path(str(TOOL.with_name('check.py')))['main'](
        [str(config), '--skip-weights', *options])
    assert '6 candidates' in capsys.readouterr().out
    search(config, tmp_path / 'work', *options)
    history = History(tmp_path / 'work/search/history.jsonl')
    assert len(history) == 6
    assert all(trial.outcome.error is None and 'P2' not in trial.recipe.names
               for trial in history.trials)
    assert Config.fromfile(tmp_path / 'work/found.py').model.budget == 3


@pytest.mark.slow
def test_ray_gives_the_history_of_one_process(config_file, tmp_path, monkeypatch):
    pytest.importorskip('ray')
    # Found in this process only, as projects is by a tool of the checkout.
    (tmp_path / 'own_data.py').write_text('import projects.scenes.detection')
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    for executor in 'local', 'ray':
        config = config_file(
            evaluator=dict(iterations=1), executor=executor,
            workers=2 if executor == 'ray' else 1)
        config.write_text(config.read_text().replace(
            'projects.scenes.detection', 'own_data'))
        search(config, tmp_path / executor)
        history = History(tmp_path / executor / 'search/history.jsonl')
        found[executor] = [
            (t.recipe, t.outcome.score, t.outcome.images, t.outcome.error)
            for t in history.trials]
    assert found['ray'] == found['local']
    assert all(score is not None for _, score, *_ in found['ray'])


def test_a_training_can_be_the_search(
        run_config, scenes_dataset, plain_config_text, tmp_path):
    cfg = run_config(
        selector=dict(type='mmrlkd.DARTSSelector', lr=0.05),
        total=8, phases=[dict(name='pretrain', share=0.25),
                         dict(name='search', share=0.75)])
    cfg.pop('experiment_name')
    cfg.train_cfg.val_interval = 2
    cfg.train_dataloader.dataset.ann_file = 'annotations/search_train.json'
    cfg.custom_hooks.append(dict(
        type='mmrlkd.HeldOutHook', dataloader=dict(
            batch_size=2, num_workers=0,
            dataset=dict(scenes_dataset('train'),
                         ann_file='annotations/search_val.json'),
            sampler=dict(type='InfiniteSampler', shuffle=True))))
    cfg.search = dict(metric=METRIC, then='uniform')
    config = tmp_path / 'config.py'
    cfg.dump(config)

    search(config, tmp_path / 'work', '--cfg-options', 'model.loss_weight=0.5',
           'train_cfg.max_iters=4')
    history = History(tmp_path / 'work/search/history.jsonl')
    # Trained on 4 images an iteration; an α step sees 2 + 4 more. 8 scored.
    assert [t.outcome.images for t in history.trials] == [
        8 + 6 + 8, 8 + 12 + 8]
    found = Config.fromfile(tmp_path / 'work/found.py')
    assert found.model.selector.type == 'mmrlkd.FixedSelector'
    assert tuple(found.model.selector.levels) == history.trials[-1].recipe.names
    assert found.model.loss_weight == 0.5
    assert found.train_cfg.max_iters == 8, 'the option is for the search'
    assert len(found.custom_hooks) == 1

    before = (tmp_path / 'work/search/history.jsonl').read_bytes()
    search(config, tmp_path / 'work', '--cfg-options',
           'train_cfg.max_iters=4')  # nothing is left to do
    assert (tmp_path / 'work/search/history.jsonl').read_bytes() == before


@pytest.mark.parametrize(('change', 'told'), [
    (dict(metric='coco/mIoU'), "None of 1 candidates .* 'coco/mIoU'"),
    (dict(evaluator=dict(iterations=0)), 'search.evaluator: iterations=0'),
    (dict(evaluator=dict(iteration=1)), 'evaluator: .*accepted: iterations'),
    (dict(evaluator=None), 'a strategy and no evaluator'),
    (dict(strategy=None, evaluator=None), 'UniformSelector.* no strategy'),
    (dict(executor='slurm'), "executor='slurm'; accepted: 'local', 'ray'"),
    (dict(workers=2), "workers=2; accepted: 1, .*executor='ray'"),
    (dict(metrics=METRIC), r"search has \['metrics'\]; accepted"),
    (dict(efficiency=-1.), 'efficiency=-1.0; accepted: a number >= 0'),
])
def test_an_impossible_search_ends_with_a_sentence(
        config_file, tmp_path, change, told):
    base = dict(evaluator=dict(iterations=1),
                strategy=dict(type='mmrlkd.RandomSearch', evaluations=1))
    with pytest.raises(SystemExit, match=f'(?s){told}'):
        search(config_file(**base | change), tmp_path / 'work')


def test_a_config_without_a_search_is_refused(config_file, tmp_path):
    config = config_file()
    text = Config.fromfile(config)
    text.pop('search')
    text.dump(config)
    with pytest.raises(SystemExit, match='has no search; accepted'):
        search(config, tmp_path / 'work')


def test_a_search_gives_a_classifier_its_preprocessor() -> None:
    """mmpretrain keeps it beside the model, and the teacher's must fit it."""
    pytest.importorskip('mmpretrain')
    cfg = load_config('configs/classification/resnet34-resnet18_in1k.py',
                      'exhaustive')
    space = runpy.run_path(str(TOOL))['_space'](cfg)
    assert space.names == ('C2', 'C3', 'C4', 'C5')
