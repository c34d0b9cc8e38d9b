import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from scipy import stats

from projects.experiments import pilot
from projects.experiments.pilot import draw_rates, quantile_edges, regress
from projects.experiments.runs import ExperimentFailed

ROOT = Path(__file__).parents[3]


def draw(trainings: int) -> np.ndarray:
    return np.stack([draw_rates(i, 4, 4).flatten() for i in range(trainings)])


def test_every_cell_is_distilled_as_often_as_not() -> None:
    rates = draw(40)
    assert set(np.unique(rates)) == {0, 1}
    assert (rates.mean(0) == .5).all()
    assert len({row.tobytes() for row in rates}) == 40
    assert (draw(10) == rates[:10]).all()  # more trainings keep the others


def test_known_effects_are_found_in_spite_of_the_seeds() -> None:
    worth = np.linspace(-1, 2, 16)
    design, seeds = draw(60), np.arange(60) // 2 % 3
    effects = regress(design, design @ worth + 10 * seeds, seeds)
    assert effects.coefficients == pytest.approx(worth)
    assert effects.half_widths == pytest.approx(0, abs=1e-6)
    assert effects.freedom == 60 - 16 - 3


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    worth = rng.normal(size=16)
    design, seeds = draw(40), np.arange(40) // 2 % 2
    covered = []
    for _ in range(200):
        effects = regress(design, design @ worth + rng.normal(size=40), seeds)
        covered += [*(abs(effects.coefficients - worth) < effects.half_widths)]
    assert np.mean(covered) == pytest.approx(.95, abs=.02)


def test_one_effect_is_the_difference_of_two_means() -> None:
    rng = np.random.default_rng(0)
    x, y = np.repeat([0., 1.], 10), rng.normal(size=20)
    effects = regress(x[:, None], y, np.zeros(20))
    low, high = stats.ttest_ind(y[x == 1], y[x == 0]).confidence_interval(.95)
    assert effects.coefficients[0] - effects.half_widths[0] == pytest.approx(low)
    assert effects.coefficients[0] + effects.half_widths[0] == pytest.approx(high)


@pytest.mark.parametrize('trainings', [16, 18])
def test_too_few_trainings_are_refused(trainings: int) -> None:
    with pytest.raises(ExperimentFailed, match='more of --trainings'):
        regress(draw(trainings), np.zeros(trainings), np.arange(trainings) % 2)


@pytest.mark.parametrize('config', [
    'detection/faster-rcnn_r101-r50_fpn_coco',
    'segmentation/deeplabv3plus_r101-r50-d8_ade20k-512x512',
    'classification/resnet34-resnet18_in1k', 'demo/study'])
def test_a_pilot_of_any_pair_counts_iterations(config: str) -> None:
    asked = pilot.Pilot(ROOT / f'configs/{config}.py', 'objects', (), iterations=50,
                        trainings=20)
    cfg = pilot._held_out(asked)
    assert cfg.train_cfg == dict(
        type='mmrlkd.SeededIterBasedTrainLoop', max_iters=50, val_interval=50)
    assert [each.end for each in cfg.param_scheduler] == [5, 50]
    with pytest.raises(ExperimentFailed, match='20 trainings cannot tell 16'):
        pilot.check_pilot(asked, 4)


@pytest.mark.parametrize(('descriptor', 'edges', 'sentence'), [
    ('weather', (), "'weather'"), ('objects', (5., 3.), 'rising numbers')])
def test_what_a_training_would_stumble_over_is_said_before(
        descriptor, edges, sentence, run_config, tmp_path) -> None:
    run_config(search=dict(
        metric='coco/bbox_mAP', data=dict(log_level='INFO'))).dump(tmp_path / 'c.py')
    asked = pilot.Pilot(tmp_path / 'c.py', descriptor, edges, trainings=40)
    with pytest.raises(ValueError, match=sentence):
        pilot.check_pilot(asked, len(edges) + 1 if edges else 2)


def test_edges_part_values_in_groups_of_like_size() -> None:
    values = np.arange(100.)
    assert quantile_edges(values, 4) == (24.5, 49.5, 74.5)
    counts = np.repeat([1, 2, 3, 9], 25)
    assert quantile_edges(counts, 4) == (1.5, 2.5, 6.0)
    with pytest.raises(ExperimentFailed, match='4 different values'):
        quantile_edges(counts, 5)
    with pytest.raises(ExperimentFailed, match='like size'):
        quantile_edges(np.array([1] * 97 + [2, 3, 4]), 4)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trainings that lead to what their rates are worth; their numbers."""
    trained: list[int] = []
    (tmp_path / 'held_out.json').write_text(json.dumps(dict(
        metainfo={}, data_list=[dict(img_path=f'{i}.png') for i in range(3)])))
    cfg = Config(dict(
        model=dict(levels=('P2', 'P5')), search=dict(metric='coco/bbox_mAP'),
        train_cfg=dict(max_iters=10), train_dataloader=dict(batch_size=8),
        val_dataloader=dict(dataset=dict(type='BaseDetDataset', ann_file=str(
            tmp_path / 'held_out.json')))))

    def train_many(tasks, jobs):
        for task in tasks:
            trained.append(task.key)
            yield task, None

    def read_evaluation(folder, key):
        number = int(folder.name.removeprefix('training_'))
        rates = draw_rates(number, 2, 2).flatten()
        return {key: .2 + rates @ [.01, .02, .03, .04]}

    monkeypatch.setattr(pilot, 'compose', lambda *_: cfg)
    monkeypatch.setattr(pilot, 'train_many', train_many)
    monkeypatch.setattr(pilot, 'read_evaluation', read_evaluation)
    return trained


def test_a_pilot_continues_and_writes_what_it_found(
        fake: list[int], tmp_path: Path) -> None:
    asked = pilot.Pilot(Path('c.py'), 'objects', (7.5, ), trainings=12)
    pilot.run_pilot(asked, tmp_path, 1, say=lambda _: None)
    pilot.run_pilot(replace(asked, trainings=16), tmp_path, 1, lambda _: None)
    assert fake == [*range(16)]
    worth = json.loads((tmp_path / 'worth.json').read_text())
    assert np.array(worth.pop('worth')) == pytest.approx(
        np.array([[.01, .02], [.03, .04]]))
    assert np.shape(worth.pop('interval')) == (2, 2)
    assert worth.pop('residual') == pytest.approx(0, abs=1e-9)
    assert worth == dict(
        descriptor='objects', edges=[7.5], levels=['P2', 'P5'],
        metric='coco/bbox_mAP', trainings=16, images=16 * (10 * 8 + 3))
    assert pilot.load_edges(tmp_path, 2) == (7.5, )
    assert pilot.load_edges(tmp_path, 3) is None
    with pytest.raises(ExperimentFailed, match='of another pilot'):
        pilot.run_pilot(replace(asked, descriptor='crowding'), tmp_path, 1)
