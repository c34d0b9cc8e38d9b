"""What every test starts from: the same seed, and no one else's global state."""

import os
import random
from collections.abc import Iterator

os.environ.setdefault('MPLBACKEND', 'Agg')

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import Registry
from mmengine.utils import ManagerMixin

from mmrlkd import registry

torch.set_num_threads(2)

OWN_REGISTRIES = [r for r in vars(registry).values()
                  if isinstance(r, Registry) and r.scope == 'mmrlkd']


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu') is not None:
            item.add_marker(pytest.mark.skip(reason='needs CUDA'))


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed every generator; a test that needs the number can ask for it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return 0


def _manager_classes(base: type = ManagerMixin) -> Iterator[type]:
    for cls in base.__subclasses__():
        yield cls
        yield from _manager_classes(cls)


@pytest.fixture(autouse=True)
def no_leaking_managers() -> Iterator[None]:
    """Forget the default scope, loggers, message hubs, … that a test made.

    mmengine keeps them by name for the life of the process. Without this the
    second Runner of a session resumes counters of the first and resolves types
    in its scope. What a fixture of a wider scope made stays.
    """
    before = {cls: dict(cls._instance_dict) for cls in _manager_classes()}
    yield
    for cls in list(_manager_classes()):
        kept = before.get(cls, {})
        for name, instance in cls._instance_dict.items():
            if name not in kept and isinstance(instance, MMLogger):
                for handler in instance.handlers:
                    handler.close()
        cls._instance_dict.clear()
        cls._instance_dict.update(kept)


@pytest.fixture(autouse=True)
def no_leaking_members() -> Iterator[None]:
    """Forget what a test itself registered; lazily imported members stay."""
    before = [set(r.module_dict) for r in OWN_REGISTRIES]
    yield
    for own, names in zip(OWN_REGISTRIES, before):
        for name, member in list(own.module_dict.items()):
            if name not in names and not member.__module__.startswith('mmrlkd.'):
                del own.module_dict[name]
