from pathlib import Path

import pytest

from projects.scenes.scenes import SceneConfig
from projects.scenes.writer import write_dataset


@pytest.fixture(scope='session')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 24 + 12 images."""
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    write_dataset(folder, SceneConfig(
        train=24, val=12, size=96, source='digits'))
    return folder
