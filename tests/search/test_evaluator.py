"""A candidate is trained and scored, and leaves nothing behind but its log."""

import pickle

import pytest
import torch
from mmengine.logging import MMLogger

from mmrlkd.search.evaluator import (
    EvaluatorConfig,
    ShortTraining,
    apply_recipe,
)
from mmrlkd.search.recipe import LevelRecipe, Recipe, Vocabulary

METRIC = 'coco/bbox_mAP'
TABLES = Vocabulary(
    losses=dict(cwd=dict(type='mmrlkd.CWDLoss')),
    connectors=dict(mlp=dict(type='mmrlkd.MLPConnector')))
DEEP = Recipe.subset(['P4', 'P5'])


@pytest.fixture
def evaluator(run_config, plain_config_text, tmp_path):

    def build(**kwargs):
        settings = dict(metric=METRIC, iterations=2) | kwargs
        cfg = run_config(
            selector=dict(type='mmrlkd.UniformSelector'), phases=None)
        cfg.pop('experiment_name', None)
        return ShortTraining(
            cfg, EvaluatorConfig(**settings), tmp_path / 'search')

    return build


def test_a_recipe_becomes_a_config():
    recipe = Recipe((LevelRecipe('P3', ('P3', ), 'cwd'),
                     LevelRecipe('P4', ('P4', 'P5'), None, 'mlp'),
                     LevelRecipe('P5', ('P5', ))))
    model = apply_recipe(
        dict(type='X', selector=dict(type='Y'), recipe=dict(P2={})), recipe,
        TABLES)
    assert model == dict(
        type='X',
        selector=dict(type='mmrlkd.FixedSelector', levels=['P3', 'P4', 'P5']),
        recipe=dict(
            P3=dict(loss=TABLES.losses['cwd']),
            P4=dict(teachers=['P4', 'P5'],
                    connector=TABLES.connectors['mlp'])))


def test_trains_on_its_own_and_counts_what_it_took(evaluator, tmp_path):
    logger = MMLogger.get_instance('mine')
    outcome = evaluator()(DEEP)
    assert outcome.error is None and 0 <= outcome.score <= 1
    assert outcome.images == 2 * 4 + 8
    assert outcome.seconds > 0
    assert MMLogger.get_current_instance() is logger
    assert (tmp_path / 'search/candidates/P4_P5/train.log').stat().st_size
    # Another time, another process: the same student.
    again = pickle.loads(pickle.dumps(evaluator()))(DEEP)
    assert again.score == outcome.score


def test_every_part_of_a_recipe_reaches_the_student(evaluator):
    recipe = Recipe((LevelRecipe('P3', ('P3', 'P4'), 'cwd', 'mlp'), ))
    outcome = evaluator(vocabulary=TABLES)(recipe)
    assert outcome.error is None, outcome.error


def test_candidates_share_a_student_that_is_trained_once(evaluator):
    build = evaluator(shared_iterations=3)
    spent = build.prepare()
    assert spent.images == 3 * 4
    stamp = build.shared.stat().st_mtime_ns
    assert build.prepare() == spent
    assert build.shared.stat().st_mtime_ns == stamp
    shared = torch.load(build.shared, weights_only=True)['state_dict']
    assert not any(key.startswith('student.') for key in shared)
    assert build(DEEP).images == 2 * 4 + 8  # the shared ones are counted once
    assert evaluator().prepare().images == 0


def test_a_metric_that_is_not_there_is_a_failure_told_in_words(evaluator):
    outcome = evaluator(metric='coco/mIoU')(DEEP)
    assert outcome.score is None and outcome.images == 16
    assert "search.metric is 'coco/mIoU'; accepted: coco/" in outcome.error


@pytest.mark.parametrize(('key', 'value'), [
    ('iterations', 0), ('iterations', 1.5), ('shared_iterations', -1)])
def test_bad_numbers_are_refused(key, value):
    with pytest.raises(ValueError, match=f'search.evaluator: {key}={value}'):
        EvaluatorConfig(**dict(metric=METRIC, iterations=1) | {key: value})
