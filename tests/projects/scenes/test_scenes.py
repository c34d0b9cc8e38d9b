from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from projects.scenes.difficulty import STRATA
from projects.scenes.scenes import (
    SceneConfig,
    plan_strata,
    render_scene,
    render_single,
    second_camera,
)
from projects.scenes.sources import load_photos, load_source


@pytest.fixture(scope='module')
def pixels() -> tuple:
    return load_source('digits'), load_photos()


@pytest.mark.parametrize(('proportions', 'counts'), [
    ((1, 1, 1, 1), (25, 25, 25, 25)),
    ((1, 1, 1, 0), (34, 33, 33, 0)),
    ((.1, .2, .3, .4), (10, 20, 30, 40))])
def test_plan_meets_the_proportions(proportions: tuple, counts: tuple) -> None:
    config = SceneConfig(train=100, proportions=proportions)
    plan = plan_strata(config, 'train')
    assert Counter(name for name, _ in plan) == {
        name: count for name, count in zip(STRATA, counts) if count}
    for name in STRATA[:2]:
        assert (name, True) not in plan
    for name, count in list(zip(STRATA, counts))[2:]:
        assert plan.count((name, True)) == round(count / 2)
    assert plan != plan_strata(replace(config, seed=1), 'train')


@pytest.mark.parametrize(('difficulty', 'dense_small'), [
    *((name, False) for name in STRATA), ('8-10', True), ('>10', True)])
def test_a_scene_is_of_the_wanted_stratum(
        pixels: tuple, difficulty: str, dense_small: bool) -> None:
    for index in range(4):
        scene = render_scene(
            SceneConfig(), *pixels, 'train', index, difficulty, dense_small)
        assert (scene.difficulty, scene.dense_small) == (difficulty, dense_small)
        assert scene.image.shape == (128, 128, 3)
        assert set(np.unique(scene.owner)) == set(range(len(scene.objects) + 1))


@pytest.mark.parametrize('max_occlusion', [0., .5])
def test_occlusion_is_known(pixels: tuple, max_occlusion: float) -> None:
    config = SceneConfig(max_occlusion=max_occlusion)
    hidden = [placed.occlusion for index in range(6)
              for placed in render_scene(
                  config, *pixels, 'train', index, '8-10', False).objects]
    assert min(hidden) >= 0
    assert max(hidden) <= max_occlusion
    assert max_occlusion == 0 or max(hidden) > 0


def test_objects_that_cannot_be_placed(
        pixels: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        render_scene.__globals__['_SIDES'], '8-10', (.7, .75))
    with pytest.raises(RuntimeError, match='allow more occlusion'):
        render_scene(SceneConfig(max_occlusion=0), *pixels, 'val', 0, '8-10', False)


def test_without_clutter_only_objects_are_drawn(pixels: tuple) -> None:
    """Clutter is drawn first, so that it changes nothing but the image."""
    config = SceneConfig(clutter=0)
    scene = render_scene(config, *pixels, 'train', 3, '1-3', False)
    label_map = scene.label_map()
    assert (label_map > 0).sum() == (scene.owner > 0).sum()
    for i, placed in enumerate(scene.objects, start=1):
        assert (label_map[scene.owner == i] == placed.label + 1).all()


def test_single_objects_take_turns(pixels: tuple) -> None:
    labels = [render_single(SceneConfig(), *pixels, 'val', i).objects[0].label
              for i in range(7)]
    assert labels == [0, 1, 2, 3, 4, 0, 1]


def test_images_depend_on_seed_split_and_index(pixels: tuple) -> None:
    def image(seed: int, split: str, index: int) -> bytes:
        return render_scene(SceneConfig(seed=seed), *pixels, split, index,
                            '4-7', False).image.tobytes()
    keys = [(0, 'train', 0), (0, 'train', 1), (1, 'train', 0), (0, 'val', 0)]
    assert len({image(*key) for key in keys}) == len(keys)
    assert image(0, 'val', 5) == image(0, 'val', 5)


@pytest.mark.parametrize(('name', 'value'), [
    ('train', 0), ('val', -1), ('size', 63), ('seed', -1), ('clutter', -1),
    ('source', 'coco'), ('classes', 7), ('proportions', (1, 1)),
    ('proportions', (0, 0, 0, 0)), ('proportions', (1, 1, 1, -1)),
    ('proportions', (1, 1, 1, float('nan'))), ('dense_small', 1.5),
    ('max_occlusion', 1.)])
def test_bad_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f'^{name} must be|^{name} must lie'):
        SceneConfig(**{name: value})


def test_the_second_camera_takes_negatives_with_a_cast(pixels: tuple) -> None:
    config = SceneConfig()
    plain = render_scene(config, *pixels, 'train', 0, '4-7', False).image
    before = plain.copy()
    taken = second_camera(config, plain, 'train', 0)
    np.testing.assert_array_equal(plain, before)
    np.testing.assert_array_equal(
        taken, second_camera(config, plain, 'train', 0))
    assert (taken != second_camera(config, plain, 'train', 1)).any()
    for channel in range(3):
        assert np.corrcoef(taken[..., channel].ravel(),
                           plain[..., channel].ravel())[0, 1] < -.8
    # Of red only noise is taken, of blue at least a fifth.
    negative = 255. - plain
    shares = taken.mean((0, 1)) / negative.mean((0, 1))
    assert shares[2] == pytest.approx(1, abs=.02)
    assert shares[0] < .81 and shares[0] < shares[1] < shares[2]
