"""The k-th augmentation of an image is always the same."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, pseudo_collate, worker_init_fn
from torch.utils.data import DataLoader

from mmrlkd.datasets import FixedAugmentations
from mmrlkd.registry import DATASETS


def noise(results):
    """Draws from every source of randomness."""
    return {'index': results['sample_idx'], 'drawn': (
        random.random(), np.random.rand(), float(torch.rand(())))}


class Numbered(BaseDataset):
    """Ten images without content."""

    def load_data_list(self):
        return [dict(img_path=f'{i}.png', img_id=i) for i in range(10)]


def make(variants=3, **kwargs):
    return FixedAugmentations(
        Numbered(pipeline=[noise], serialize_data=False), variants, **kwargs)


def views(data, index, times=40):
    return {data[index]['drawn'] for _ in range(times)}


def test_an_image_has_k_views_the_same_in_every_run():
    data = make()
    first = [views(data, index) for index in range(10)]
    assert [len(each) for each in first] == [3] * 10
    assert len(set.union(*first)) == 30  # images differ
    np.random.seed(5)
    torch.manual_seed(5)
    random.seed(5)
    assert [views(make(), index) for index in range(10)] == first
    assert not views(make(seed=1), 0) & first[0]
    assert views(data, -1) == first[-1]
    assert len(views(make(1), 0)) == 1


def test_the_variant_is_drawn_evenly_and_other_numbers_stay():
    data, counts = make(), {}
    for _ in range(3000):
        drawn = data[4]['drawn']
        counts[drawn] = counts.get(drawn, 0) + 1
    assert all(abs(count - 1000) < 130 for count in counts.values())  # 5 σ
    # Python's and torch's numbers go on as if no image had been loaded, and
    # numpy's as if one had been drawn.
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(1)
    data[0]
    after = random.random(), np.random.rand(), float(torch.rand(()))
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(1)
    np.random.randint(3)
    assert after == (random.random(), np.random.rand(), float(torch.rand(())))


@pytest.mark.parametrize('workers', [0, 2])
def test_worker_processes_give_the_same_views(workers):
    from functools import partial
    expected = [views(make(2), index) for index in range(10)]
    seen = [set() for _ in range(10)]
    for epoch in range(6):
        for batch in DataLoader(
                make(2), batch_size=2, num_workers=workers,
                collate_fn=pseudo_collate, worker_init_fn=partial(
                    worker_init_fn, num_workers=workers, rank=0, seed=epoch)):
            for index, drawn in zip(batch['index'], zip(*batch['drawn'])):
                seen[index].add(tuple(drawn))
    assert all(each <= whole for each, whole in zip(seen, expected))
    assert sum(map(len, seen)) > 10


def test_it_stands_for_the_data_set_that_it_wraps(scenes_dataset):
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    inner = scenes_dataset('train')
    data = DATASETS.build(dict(
        type='mmrlkd.FixedAugmentations', variants=2, dataset=inner))
    plain = DATASETS.build(inner)
    assert len(data) == len(plain) and data.metainfo == plain.metainfo
    assert data.get_data_info(3)['img_id'] == plain.get_data_info(3)['img_id']
    assert data.get_cat_ids(3) == plain.get_cat_ids(3)
    images = {data[3]['inputs'].numpy().tobytes() for _ in range(8)}
    assert 1 <= len(images) <= 2


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match='variants=0; accepted: an integer >= 1'):
        make(0)
