"""Which files fill a student that is to be tested."""

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmrlkd.engine.trained import count_parameters, fill


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_a_whole_state_fills(model):
    state = {f'module.{key}': value + 1 for key, value in
             model.state_dict().items() if key != '1.num_batches_tracked'}
    fill(model, dict(state_dict=state), 'a.pth')
    assert torch.equal(model[1].weight, torch.full((4,), 2.))


@pytest.mark.parametrize(('content', 'sentence'), [
    (dict(iter=4, distiller={}, local=[], logs={}),
     r'epoch_4\.pth does not fill the Sequential: 6 of its 6 weights are '
     r'missing.*earlier versions wrote beside a checkpoint'),
    (dict(state_dict={'student.0.weight': torch.zeros(1)}),
     'begin with student: it looks like the checkpoint of another distiller'),
    (dict(state_dict={'backbone.weight': torch.zeros(1)}),
     r'It has backbone\.weight'),
], ids=['sidecar', 'prefix', 'other'])
def test_other_files_do_not_fill(model, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        fill(model, content, 'epoch_4.pth')


def test_one_weight_of_another_shape_does_not_fill(model):
    state = model.state_dict() | {'0.weight': torch.zeros(5, 3, 1, 1)}
    with pytest.raises(ValueError, match=r'1 of its 6 weights.*among them 0\.we'):
        fill(model, dict(state_dict=state), 'a.pth')


class _Writes:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ('raise RuntimeError("ran")',)


def test_a_file_runs_no_code(tmp_path):
    torch.save(dict(state_dict={}, meta=_Writes()), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='holds exec, which could run'):
        count_parameters(tmp_path / 'a.pth')


def test_what_mmengine_saves_is_read(tmp_path):
    hub = dict(log_scalars={'loss': HistoryBuffer([1.], [1])},
               runtime_info={'best': np.float64(2.)})
    torch.save(dict(state_dict={'a': torch.ones(3)}, message_hub=hub),
               tmp_path / 'a.pth')
    assert count_parameters(tmp_path / 'a.pth') == 3
