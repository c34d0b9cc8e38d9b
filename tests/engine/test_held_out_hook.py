"""Held-out batches: given when they are learned from, and held out indeed."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.data import ConcatDataset

from mmrlkd.config.student import student_config
from mmrlkd.engine.held_out_hook import check_disjoint
from mmrlkd.engine.phase_hook import make_phase
from mmrlkd.registry import DATASETS


@pytest.fixture
def build_dataset(scenes_dataset):
    def build(split, **overrides):
        init_default_scope('mmdet')
        return DATASETS.build(dict(scenes_dataset(split), **overrides))
    return build


def test_disjoint_images_are_accepted(build_dataset):
    check_disjoint(build_dataset('val'), build_dataset('train'))


def test_shared_images_are_refused(build_dataset):
    with pytest.raises(ValueError, match=(
            'HeldOutHook.dataloader.dataset shares 3 of its 3 images with '
            'train_dataloader.dataset, among them .*train/')):
        check_disjoint(
            build_dataset('train', indices=[1, 4, 5]), build_dataset('train'))


def test_wrapped_datasets_are_looked_into(build_dataset):
    train, val = build_dataset('train'), build_dataset('val')
    repeated = SimpleNamespace(dataset=ConcatDataset([val, train]))
    with pytest.raises(ValueError, match='shares 8 of its 8'):
        check_disjoint(val, repeated)


def test_images_without_path_have_an_id():
    class Numbered:
        def __init__(self, *ids):
            self.ids = ids

        def __len__(self):
            return len(self.ids)

        def get_data_info(self, i):
            return dict(img_id=self.ids[i])

    check_disjoint(Numbered(1, 2), Numbered(3, 4))
    with pytest.raises(ValueError, match='shares 1 of its 2 .* img_id 2'):
        check_disjoint(Numbered(1, 2), Numbered(2, 3))


def test_a_dataset_that_tells_nothing_is_left_alone():
    check_disjoint([1, 2], [1, 2])


def test_the_search_phase_trains_both_in_every_iteration():
    phase = make_phase('search', 1.0)
    assert phase.choose and not phase.freeze_backbone
    assert phase.learn_every == phase.student_every == 1


def test_the_student_alone_holds_nothing_out(run_config):
    cfg = run_config()
    cfg.custom_hooks.append(dict(type='mmrlkd.HeldOutHook', dataloader={}))
    plain = student_config(Config(cfg.to_dict()))
    assert [hook.type for hook in plain.custom_hooks] == []
