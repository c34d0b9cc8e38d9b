"""A teacher's weights are found, finite, and read without running code."""

import os
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from torch import nn

from mmrlkd.distillation.teacher.weights import load_matching
from mmrlkd.files import load_file, safe_loading


class Prepared:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder, )


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def saved(tmp_path):
    """Save something; the path."""

    def save(content, name='teacher.pth', **kwargs):
        torch.save(content, tmp_path / name, **kwargs)
        return str(tmp_path / name)

    return save


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_a_prepared_file_is_refused_and_its_code_does_not_run(
        saved, tmp_path, zipped):
    marker = tmp_path / 'ran'
    path = saved({'state_dict': network().state_dict(),
                  'meta': Prepared(marker)},
                 _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=(
            r'holds \w+.mkdir, which could run code .*'
            'teacher.trust_checkpoint=True')):
        load_matching(network(), path)
    assert not marker.exists()
    load_matching(network(), path, trust=True)
    assert marker.is_dir()


def test_mmengines_loading_does_not_fall_back_to_running_code(saved, tmp_path):
    from mmengine.runner.checkpoint import CheckpointLoader
    marker = tmp_path / 'ran'
    path = saved({'meta': Prepared(marker)})
    before = dict(os.environ)
    with pytest.raises(Exception, match='mkdir'), safe_loading():
        CheckpointLoader.load_checkpoint(path, 'cpu')
    assert not marker.exists()
    assert dict(os.environ) == before


def test_records_of_openmmlab_are_read(saved):
    history = HistoryBuffer([1., 2.], [1, 1])
    content = {
        'state_dict': OrderedDict(network().state_dict()),
        'meta': {'cfg': ConfigDict(a=1, b=dict(c=[2])), 'file': Config(dict(d=3)),
                 'classes': {'cat', 'dog'}},
        'message_hub': {'log': history, 'lr': np.float64(0.1),
                        'iter': np.int64(3), 'rows': np.arange(4, dtype='u1')}}
    found = load_file(saved(content))
    assert found['meta']['cfg'] == content['meta']['cfg']
    assert found['meta']['file'].d == 3
    assert found['message_hub']['log'].mean() == 1.5
    assert found['message_hub']['lr'] == 0.1
    assert found['message_hub']['rows'].tolist() == [0, 1, 2, 3]


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize('wrap', [
    lambda state: state,
    lambda state: {'state_dict': state},
    lambda state: {'model': state, 'epoch': 3},
    lambda state: {'net': state},
    lambda state: {'ema_state_dict': prefixed('module.', state)},
    lambda state: {'state_dict': prefixed('module.student.', state)},
    lambda state: {'state_dict': prefixed('teacher.', state),
                   'optimizer': {'state': {0: {'exp': torch.ones(1)}}}},
    lambda state: {'model': state, 'model_ema': dict(state)},
    # mmengine's file with an average: state_dict is what it tests.
    lambda state: {'state_dict': state, 'ema_state_dict': {
        key: torch.zeros_like(value) for key, value in state.items()}},
])
def test_weights_are_found_under_other_keys(saved, wrap):
    teacher, model = network(), network()
    path = saved(wrap(teacher.state_dict()))
    load_matching(model, path)
    for key, value in teacher.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_a_safetensors_file_is_read(tmp_path):
    teacher, model = network(), network()
    path = tmp_path / 'teacher.safetensors'
    save_file(teacher.state_dict(), path)
    load_matching(model, str(path))
    assert torch.equal(model[0].weight, teacher[0].weight)


def test_several_weights_that_fit_must_be_told_apart_by_key(saved):
    one, other, model = network(), network(), network()
    path = saved({'state_dict': prefixed('student.', one.state_dict())
                  | prefixed('teacher.', other.state_dict())})
    with pytest.raises(ValueError, match=(
            "accepted: teacher.weights_key='state_dict.student' or "
            "'state_dict.teacher'")):
        load_matching(model, path)
    load_matching(model, path, key='state_dict.teacher')
    assert torch.equal(model[0].weight, other[0].weight)
    with pytest.raises(ValueError, match="no weights under 'ema'"):
        load_matching(model, path, key='ema')


def test_weights_of_another_model_are_named_with_their_key(saved):
    path = saved({'model': {'stem.weight': torch.ones(2)}})
    with pytest.raises(ValueError, match=(
            "weights under 'model' are called stem.weight")):
        load_matching(network(), path)


@pytest.mark.parametrize('key', ['0.weight', '1.running_var'])
@pytest.mark.parametrize('number', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused_by_name(saved, key, number):
    state = network().state_dict()
    state[key].view(-1)[0] = number
    with pytest.raises(ValueError, match=f'in 1 of its weights: {key};'):
        load_matching(network(), saved({'state_dict': state}))


def test_a_mask_of_infinities_is_no_broken_weight(saved):
    model = network()
    model[0].register_buffer('mask', torch.tensor([0., float('-inf')]))
    load_matching(model, saved(model.state_dict()))
