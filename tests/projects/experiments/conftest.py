import json
from collections.abc import Callable
from pathlib import Path

import pytest

#: What every config of these tests has.
COMMON = '''
train_cfg = dict(max_iters={iterations})
train_dataloader = dict(batch_size=8)
custom_hooks = {hooks!r}
val_evaluator = dict(type='mmrlkd.DifficultyCocoMetric')
'''


def _config_text(selector: dict | None, hooks: list = (),
                iterations: int = 4, checkpoint: str = 'teacher.pth') -> str:
    """A config of a student alone, or of one that distils two levels."""
    model = dict(type='GFL') if selector is None else dict(
        type='mmrlkd.PyramidDistiller', student=dict(type='GFL'),
        levels=('P2', 'P3'),
        selector=selector, teacher=dict(config='t.py', checkpoint=checkpoint))
    return f'model = {model!r}' + COMMON.format(
        iterations=iterations, hooks=list(hooks))


def _write_history(folder: Path, config: str, text: str, mean_ap: float | None,
                  *records: dict) -> None:
    """What a training to its end leaves, without the model."""
    scalars = folder / '1/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    (folder / f'{config}.py').write_text(text)
    lines = [*records]
    if mean_ap is not None:
        lines.append({f'coco/bbox_mAP{key}': mean_ap for key in (
            '', '_50', '_75', '_s', '_m', '_l', '_1-3')})
    scalars.write_text('\n'.join(map(json.dumps, lines)))
    (folder / 'last_checkpoint').write_text(
        f'/gone/iter_{records[-1]["iter"]}.pth')


def _record(iteration: int, cost: float | None = None, time: float = 0.5,
           **values: float) -> dict:
    """A line of the log."""
    distils = {} if cost is None else dict(
        levels_per_image=1.0, distill_cost=cost, distill_gflops=cost / 10,
        reward_gflops=0.0)
    return dict(iter=iteration, loss=1.0, time=time, **distils, **values)


@pytest.fixture
def work_dir(tmp_path: Path) -> Callable[..., Path]:
    """A work dir with a method of each kind, over three seeds."""

    def make(ppo: float = 0.36) -> Path:
        _write_history(tmp_path / 'teacher', 'teacher', _config_text(None), .45,
                       _record(4))
        for seed, off in enumerate((-.002, 0, .002)):
            for name, mean_ap, cost, selector in (
                    ('student', .30, None, None),
                    ('uniform', .35, 6., dict(type='mmrlkd.UniformSelector')),
                    ('chance', .33, 4., dict(type='mmrlkd.RandomSelector')),
                    ('ppo', ppo, 4.2, dict(type='mmrlkd.PolicySelector')),
                    ('front/P2', .36, 4., dict(
                        type='mmrlkd.FixedSelector', levels=('P2', ))),
                    ('front/P3', .34, 2., dict(
                        type='mmrlkd.FixedSelector', levels=('P3', )))):
                _write_history(
                    tmp_path / name / f'seed_{seed}', Path(name).name,
                    _config_text(selector), mean_ap + off, _record(4, cost))
        return tmp_path

    return make


@pytest.fixture
def config_text() -> Callable[..., str]:
    return _config_text


@pytest.fixture
def write_history() -> Callable[..., None]:
    return _write_history


@pytest.fixture
def record() -> Callable[..., dict]:
    return _record
