"""A small recorded environment, in double precision."""

import pytest
import torch

from mmrlkd.distillation.selection.recorded import RecordedEnvironment, Recording
from mmrlkd.registry import POLICIES
from mmrlkd.structures import LevelSpace

SPACE = LevelSpace(('P3', 'P4', 'P5'), (4., 2., 1.), 6., (2, 2, 2), 4,
                   (8., 16., 32.), min_levels=0)
NETWORKS = {
    'LSTMPolicy': dict(hidden=4, layers=1, global_dim=4, level_dim=2),
    'MLPPolicy': dict(hidden=4, global_dim=4, level_dim=2),
    'TokenPolicy': dict(hidden=4, width=2, layers=1),
}


@pytest.fixture
def recorded():

    def build(images=6, horizon=2, efficiency=.3):
        gains = torch.randn(images, 8).double()
        gains[:, 0] = 0
        return RecordedEnvironment(Recording(
            global_feature=torch.randn(images, 4).double(),
            level_features=torch.randn(images, 6).double(),
            context=torch.zeros(images, 0).double(),
            level_losses=torch.rand(images, 3), gains=gains,
            batch_size=[images]), SPACE, horizon, efficiency)

    return build


@pytest.fixture
def small_policy():
    """In double precision, with preferences."""

    def build(name='MLPPolicy', horizon=2):
        policy = POLICIES.build(dict(type=f'mmrlkd.{name}', **NETWORKS[name]))
        policy.bind(SPACE, horizon)
        with torch.no_grad():
            for weight in policy.parameters():
                weight += .3 * torch.randn_like(weight)
        return policy.double()

    return build
