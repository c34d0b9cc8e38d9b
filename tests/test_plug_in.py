"""Parts outside the package: the classes that docs/architecture.md shows, each
one file and one config, in a training step."""

import copy
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.structures import BaseDataElement

from mmrlkd.config.compose import load_config
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

PAGE = (Path(__file__).parents[1] / 'docs/architecture.md').read_text()
POLICY = dict(
    type='mmrlkd.PolicySelector', rollout_batches=1,
    policy=dict(type='mmrlkd.LSTMPolicy', hidden=8),
    reward=dict(type='mmrlkd.ResidualReward'))
#: Stands in for a library that has no adapter here.
POSE = '''
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import nn
from mmrlkd.registry import MODELS

@MODELS.register_module()
class TopdownPoseEstimator(BaseModel):
    with_neck = True

    def __init__(self, width, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = Stages(width)
        self.neck = Neck(width)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.loss(inputs, data_samples)

    def loss(self, inputs, data_samples):
        heatmap = self.head(self.neck(self.backbone(inputs))[0])
        return dict(loss_heatmap=heatmap.square().mean())

class Stages(nn.ModuleList):
    def __init__(self, width):
        super().__init__(
            nn.Conv2d(i, o, 3, stride=2, padding=1)
            for i, o in ((3, width), (width, 2 * width)))

    def forward(self, x):
        outputs = []
        for stage in self:
            x = F.relu(stage(x))
            outputs.append(x)
        return tuple(outputs)

class Neck(nn.ModuleList):
    def __init__(self, width):
        super().__init__(
            nn.Conv2d(w, 8, 1) for w in (width, 2 * width))

    def forward(self, stages):
        return tuple(conv(x) for conv, x in zip(self, stages))
'''


def shown(name):
    """The file ``my_project/NAME.py`` of the page, and the config below."""
    code, rest = re.search(
        rf'```python\n(# my_project/{name}\.py.*?)```(.*)', PAGE,
        re.DOTALL).groups()
    config = re.search(r'```python\n(model = .*?)```', rest, re.DOTALL)
    return code, config[1] if config else ''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write a file of the user's; forget its module afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(path, text):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith(('my_project', 'mmpose')):
            del sys.modules[name]


@pytest.fixture
def plugged(project, run_config, plain_config_text, tmp_path):
    """The distiller of a config that names a class of the page, and its part
    of the page."""

    def build(name, **base):
        code, config = shown(name)
        project(f'my_project/{name}.py', code)
        run_config(phases=None, **base).dump(tmp_path / 'base.py')
        path = tmp_path / 'own.py'
        path.write_text(
            "_base_ = ['base.py']\n"
            f"custom_imports = dict(imports=['mmrlkd', 'my_project.{name}'],"
            f' allow_failed_imports=False)\n{config}')
        model = MODELS.build(load_config(path).model)
        model.init_weights()
        return model.train()

    return build


def step(model, batch):
    """One iteration that also learns; what it computed."""
    model.schedule.set(Phase('run', 1.0), 0, 0.0)
    before = copy.deepcopy(model.student.state_dict())
    output = model.run_step(model, copy.deepcopy(batch), build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))))
    assert output.scalars['updates_student'] == 1
    assert not output.scalars['skipped_updates']
    assert any(not torch.equal(value, before[key])
               for key, value in model.student.state_dict().items())
    return output


UNIFORM = dict(type='mmrlkd.UniformSelector')


def pairs_of_maps(model, batch):
    """(student connected, teacher) maps of each level before the step."""
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    student = model.student.extract_feat(data['inputs'])
    teacher = model.teacher.model.extract_feat(data['inputs'])
    return [(links[0].connector(s, t.shape[-2:]), t) for links, s, t in zip(
        model.distillation.links, student, teacher, strict=True)]


def test_a_loss(plugged, detection_batch):
    model = plugged('cosine', selector=UNIFORM)
    assert type(model.distillation.links[0][0].loss).__module__ == (
        'my_project.cosine')
    with torch.no_grad():
        expected = [1 - F.cosine_similarity(s, t, dim=1).mean(dim=(1, 2))
                    for s, t in pairs_of_maps(model, detection_batch)]
    output = step(model, detection_batch)
    torch.testing.assert_close(
        output.level_losses, torch.stack(expected, 1), rtol=1e-4, atol=1e-5)


def test_a_selector(plugged, detection_batch):
    model = plugged('strongest', selector=UNIFORM)
    data = model.data_preprocessor(copy.deepcopy(detection_batch), True)
    with torch.no_grad():
        norms = torch.stack([
            m.mean(dim=(2, 3)).norm(dim=1)
            for m in model.student.extract_feat(data['inputs'])], 1)
    output = step(model, detection_batch)
    assert output.selection.levels.sum(1).tolist() == [1] * 4
    assert output.selection.levels.int().argmax(1).equal(norms.argmax(1))
    assert output.level_losses.bool().equal(output.selection.levels)


def test_a_reward(plugged, detection_batch):
    model = plugged('worst_level', selector=POLICY)
    before = copy.deepcopy(model.selector.policy.state_dict())
    output = step(model, detection_batch)
    # The steps' rewards telescope; the unit is the mean of what all gain.
    losses, levels = output.level_losses, output.selection.levels
    costs = torch.tensor(model.distillation.space.costs)
    gained = losses.amax(1) - losses.where(~levels, 0.).amax(1)
    spent = (levels * costs).sum(1) / costs.sum()
    torch.testing.assert_close(
        output.scalars['reward'],
        (gained / losses.amax(1).mean() - 0.5 * spent).mean())
    assert any(not torch.equal(value, before[key]) for key, value
               in model.selector.policy.state_dict().items())


def test_a_task(plugged, project):
    project('mmpose/__init__.py', '')
    project('mmpose/models.py', POSE)
    import mmpose.models
    assert issubclass(mmpose.models.TopdownPoseEstimator, BaseModel)

    def estimator(width):
        return dict(
            type='mmrlkd.TopdownPoseEstimator', width=width,
            data_preprocessor=dict(type='mmengine.ImgDataPreprocessor'))

    teacher = MODELS.build(estimator(8))
    file = Path(mmpose.models.__file__).with_name('teacher.pth')
    torch.save(dict(state_dict=teacher.state_dict()), file)
    model = plugged('pose', model=dict(
        type='mmrlkd.PyramidDistiller', student=estimator(4),
        teacher=dict(config=estimator(8), checkpoint=str(file)),
        selector=UNIFORM))
    assert model.adapter.task == 'pose'
    assert [level.name for level in model.levels] == ['P1', 'P2']
    output = step(model, pseudo_collate([
        dict(inputs=torch.rand(3, 64, 64), data_samples=BaseDataElement())
        for _ in range(2)]))
    assert output.level_losses.shape == (2, 2)
    assert set(output.losses) == {'loss_heatmap', 'loss_distill'}
