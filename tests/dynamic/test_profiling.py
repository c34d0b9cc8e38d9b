"""Every setting of every image is measured, once, with its own quality."""

import copy
from statistics import median

import pytest
import torch

from mmrlkd.dynamic.measured import ImageProfile, MeasuredImages
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.dynamic.profiling import Profiler
from mmrlkd.dynamic.table import ProfileTable, write_table

BUDGET = dict(
    knobs=[dict(type='mmrlkd.InputScale', scales=(0.5, 1.0)),
           dict(type='mmrlkd.ResidualBlocks', run=[(2, 1, 1, 1), (2, 2, 2, 2)])],
    feature=dict(stage='layer1'))


class Batches:
    """A data set whose images are batches of one, preprocessed."""

    def __init__(self, task, number: int) -> None:
        self.batches = [task.batch(images=1, seed=i) for i in range(number)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict:
        return copy.deepcopy(self.batches[index])


@pytest.fixture
def profiler(task, monkeypatch) -> Profiler:
    images = Batches(task, 5)
    monkeypatch.setattr(task.model.data_preprocessor, 'forward',
                        lambda data, training: data)
    return Profiler(BudgetParts.build(task.model, BUDGET), images,
                    lambda samples: samples[0], repeats=3)


def test_an_image_has_all_latencies_and_each_settings_quality(task, profiler):
    profile = profiler.measure(2)
    space = profiler.parts.space
    assert [len(each) for each in profile.latency_ms] == [3] * 4
    assert all(time > 0 for each in profile.latency_ms for time in each)
    assert len(profile.deciding_ms) == len(profile.looking_ms) == 3
    for setting in range(4):
        with space.set(setting), torch.no_grad():
            sample = task.model(**profiler.dataset[2], mode='predict')[0]
        assert profile.quality[setting] == profiler.parts.quality(sample).quality
    assert (profile.log_prob[0] is None) == (task.name != 'classification')
    batch = profiler.dataset[2]
    early = profiler.parts.feature.compute(
        batch['inputs'], batch['data_samples'])
    assert profile.feature == early.pooled[0].tolist()
    assert profile.size == (64, 64)


def test_settings_are_measured_in_another_order_each_time(profiler, monkeypatch):
    order = []
    run = Profiler._run

    def spy(self, batch, setting):
        order.append(setting)
        return run(self, batch, setting)

    monkeypatch.setattr(Profiler, '_run', spy)
    profiler.measure(0)
    profiler.measure(1)
    assert order[:4] == order[16:20] == [0, 1, 2, 3]  # the quality
    rounds = [tuple(order[i:i + 4]) for i in (4, 8, 12, 20, 24, 28)]
    assert all(sorted(each) == [0, 1, 2, 3] for each in rounds)
    assert len(set(rounds)) > 2


def test_the_table_that_is_read_holds_what_was_measured(
        profiler, tmp_path):
    profiles = [profiler.measure(image) for image in (1, 4)]
    path = tmp_path / 'profile.parquet'
    header = profiler.header(profiles, dict(device='cpu'), 'c.py', 'ab')
    write_table(path, header, [
        row for profile in profiles for row in profiler.rows(profile)])
    table = ProfileTable.read(path, 'complete')
    space = profiler.parts.space
    assert table.space.names == space.names and len(table) == 2
    assert table.space.full == space.full
    assert table.latency[1, 2] == pytest.approx(
        median(profiles[1].latency_ms[2]), rel=1e-5)
    assert table.quality.tolist() == [
        pytest.approx(each.quality) for each in profiles]
    assert table.features[0].tolist() == pytest.approx(profiles[0].feature)
    assert table.header.feature['reused'] == [2, 3]  # of scale 1.0
    for kind, key in (('deciding_ms', 'deciding_ms'), ('looking_ms', 'ms')):
        times = [time for each in profiles for time in getattr(each, kind)]
        expected = max(0., median(times)) - (
            table.deciding if key == 'ms' else 0.)
        assert table.header.feature[key] == pytest.approx(max(0., expected))
    assert table.single[1, 2] == pytest.approx(profiles[1].latency_ms[2][0])
    assert table.header.feature['stage'] == 'layer1'
    assert list(table.header.image_size or ()) == [64, 64]
    assert table.difficulty == tuple(
        each.difficulty or '' for each in profiles)


def test_fewer_images_are_the_first_of_more(profiler):
    assert profiler.images(3) == profiler.images(5)[:3]
    assert sorted(profiler.images(9)) == [0, 1, 2, 3, 4]


def test_a_setting_that_the_model_cannot_run_is_named(build_task):
    task = build_task('classification')
    parts, images = BudgetParts.build(task.model, BUDGET), Batches(task, 1)
    task.model.data_preprocessor.forward = lambda data, training: data

    def predict(inputs, data_samples):
        if inputs.shape[-1] < 64:
            raise RuntimeError('kernel larger than the image')
        return data_samples

    task.model.predict = predict
    profiler = Profiler(parts, images, lambda samples: samples[0])
    with pytest.raises(ValueError, match='does not run with scale=0.5 '
                       'blocks=2-1-1-1 .kernel larger'):
        profiler.warm_up(0)


@pytest.mark.parametrize('budget', [None, {}, dict(knobs=[])])
def test_a_config_without_knobs_is_refused(build_task, budget):
    with pytest.raises(ValueError, match='names no knobs; accepted'):
        BudgetParts.build(build_task('classification').model, budget)


def profile_of(image: int) -> ImageProfile:
    return ImageProfile(image, f'{image}.png', (64, 48), '3', [0.1, 1 / 3],
                        [0.5], [0.25], [[1.25], [2.5]], [0.5, 1.0], [None, -0.1])


def test_what_was_measured_is_read_back_to_the_bit(tmp_path):
    kept = MeasuredImages(tmp_path / 'parts', dict(model='a'))
    kept.add(profile_of(7))
    again = MeasuredImages(tmp_path / 'parts', dict(model='a'))
    assert 7 in again and 8 not in again
    assert again.load(7) == profile_of(7)


@pytest.mark.parametrize('key, value', [
    ('model', 'b'), ('machine', dict(threads=2)), ('knobs', [])])
def test_measurements_of_another_model_or_machine_are_not_mixed(
        tmp_path, key, value):
    identity = dict(model='a', machine=dict(threads=1),
                    knobs=[dict(name='scale', values=(0.5, 1.0))])
    MeasuredImages(tmp_path, identity)
    MeasuredImages(tmp_path, identity)
    with pytest.raises(ValueError, match=f'measurements with {key}='):
        MeasuredImages(tmp_path, dict(identity, **{key: value}))
