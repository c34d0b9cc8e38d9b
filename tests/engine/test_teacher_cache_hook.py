"""Whole runs with a cache of the teacher's maps."""

import pytest
import torch

UNIFORM = dict(type='mmrlkd.UniformSelector')
#: May leave images out, and learns from what the teacher's head says.
WORTH = dict(
    type='mmrlkd.PolicySelector', horizon=1, rollout_batches=1, mean_cost=1.5,
    policy=dict(type='mmrlkd.MLPPolicy', hidden=16),
    reward=dict(type='mmrlkd.WorthReward', signal='teacher_detections',
                level_values=[1.5, -0.2, 0.1, -0.6]),
    learner=dict(type='mmrlkd.ExpectedReward', steps=2))


@pytest.fixture
def cached(run_config, train, tmp_path):
    """Train with a cache; the student's weights, the hits of the iterations,
    and what was said."""

    def run(cache='exact', variants=None, min_levels=1, **overrides):
        cfg = run_config(**overrides)
        cfg.model.min_levels = min_levels
        cfg.train_cfg.val_interval = 100
        cfg.default_hooks.checkpoint.interval = 100
        if cache:
            cfg.model.teacher.cache = dict(
                path=str(tmp_path / 'maps'), dtype=cache)
        if variants:
            cfg.train_dataloader.dataset = dict(
                type='mmrlkd.FixedAugmentations', variants=variants,
                dataset=cfg.train_dataloader.dataset)
        runner = train(cfg)
        scalars = runner.message_hub.log_scalars
        hits = (scalars['train/cache_hits'].data[0].tolist()
                if 'train/cache_hits' in scalars else None)
        return runner.model.state_dict(), hits, runner

    return run


def assert_same(state, other):
    assert state.keys() == other.keys()
    for key in state:
        assert torch.equal(state[key], other[key]), key


@pytest.mark.parametrize('chosen', [
    {}, dict(selector=UNIFORM, phases=[
        dict(name='plain', share=0.25), dict(name='search', share=0.75)]),
    dict(selector=WORTH, min_levels=0, phases=[
        dict(name='search', share=1.0, learn_every=3)])],
    ids=['ppo', 'uniform', 'worth'])
def test_the_student_is_the_same_to_the_bit(cached, chosen):
    plain, hits, _ = cached(None, total=8, **chosen)
    assert hits is None
    cold, hits, runner = cached(total=8, name='cold', **chosen)
    assert_same(cold, plain)
    # 16 images, each flipped or not: the second pass finds some.
    assert hits[0] == 0 and 0 < max(hits) <= 1
    warm, hits, again = cached(total=8, name='warm', **chosen)
    assert_same(warm, plain)
    assert set(hits) == {1.0}
    assert not runner.model.teacher.cache.store._waiting


def test_with_bfloat16_the_student_does_not_depend_on_what_was_there(cached):
    cold, _, _ = cached('bfloat16', name='cold')
    warm, hits, _ = cached('bfloat16', name='warm')
    assert set(hits) == {1.0}
    assert_same(cold, warm)


@pytest.fixture
def said(monkeypatch):
    """Messages of a run's logger."""
    from mmengine.logging import MMLogger
    messages = []
    for level in ('info', 'warning'):
        monkeypatch.setattr(
            MMLogger, level,
            lambda self, message, *_, level=level, **__: messages.append(
                (level, str(message))))
    return messages


RANDOM = dict(type='PhotoMetricDistortion')


def test_it_tells_its_size_and_why_it_has_no_hits(
        cached, said, scenes_dataset, run_config):
    loader = run_config().train_dataloader
    loader.dataset.pipeline.insert(2, RANDOM)
    options = dict(selector=UNIFORM, phases=[dict(name='search', share=1.0)],
                   total=9, train_dataloader=loader)
    _, hits, _ = cached(name='random', **options)
    assert set(hits) == {0.0}
    sizes = [text for level, text in said if 'takes' in text]
    # (16² + 8² + 4² + 2²) positions of 16 channels in float32, of 16 images.
    assert len(sizes) == 1 and 'takes 21.76 kB for all levels' in sizes[0]
    assert '0.000348 GB for 16 images' in sizes[0]
    useless = [text for level, text in said if 'had none of the maps' in text]
    assert len(useless) == 1 and 'FixedAugmentations' in useless[0]
    said.clear()
    _, hits, _ = cached(name='fixed', variants=1, **options)
    assert hits[4:] == [1.0] * 5
    assert not any('had none' in text for _, text in said)
