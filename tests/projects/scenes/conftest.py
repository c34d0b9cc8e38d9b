from pathlib import Path

import pytest

from projects.scenes.scenes import SceneConfig
from projects.scenes.writer import write_dataset

CONFIG = SceneConfig(train=24, val=12, size=96, source='digits')


@pytest.fixture(scope='session')
def config() -> SceneConfig:
    return CONFIG


@pytest.fixture(scope='session')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset, written by one process."""
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    assert write_dataset(folder, CONFIG)
    return folder
