"""The table of pairs in docs/, written or compared with."""

from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / 'docs/pairs.md'
HEADER = '''# Pairs that are tested

Each pair is two configs of a library's own config folder, named in a config:

```python
_base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', 'mmrlkd::methods/ppo.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
                 checkpoint='checkpoints/retinanet_r50_fpn_1x_coco.pth'),
    **_base_.method.model)
custom_hooks = _base_.get('custom_hooks', []) + _base_.method.custom_hooks
custom_imports = dict(
    imports=[*_base_.get('custom_imports', {}).get('imports', []), 'mmrlkd'])
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
randomness = _base_.distillation.randomness
```

All else (data, optimizer, schedule, evaluator, hooks) is the student's own. `--method`
puts another [method](configs.md) in the place of `ppo`.

`python tools/check.py --pair STUDENT TEACHER`, with two such names, shows what would
be distilled, here or for any other pair. The test suite writes each pair below as it
is written above, builds it and trains it for one step with the PPO policy, on small
random images; this says that it works, not how much it gains. Levels are those that
both have; where the teacher's has another name, it stands behind the arrow. Widths are
the student's and the teacher's.

The tables are written by `pytest tests/zoo --write-pairs`.
'''
TITLES = {'mmdet': 'Detection and instance segmentation, mmdet',
          'mmseg': 'Segmentation, mmseg',
          'mmpretrain': 'Classification, mmpretrain'}
COLUMNS = '| student | teacher | levels | widths |\n|---|---|---|---|\n'


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        '--write-pairs', action='store_true',
        help='write docs/pairs.md instead of comparing with it')


@pytest.fixture(scope='module')
def documented(request: pytest.FixtureRequest):
    """Says that a row belongs into the table of a library."""
    write = request.config.getoption('--write-pairs')
    rows: dict[str, list[str]] = {library: [] for library in TITLES}
    text = DOCUMENT.read_text() if DOCUMENT.is_file() else ''

    def document(library: str, row: str) -> None:
        rows[library].append(row)
        if not write:
            assert row in text.splitlines(), (
                f'docs/pairs.md does not have {row}; '
                'run pytest tests/zoo --write-pairs')

    yield document
    if write:
        tables = [f'\n## {TITLES[library]}\n\n{COLUMNS}' + '\n'.join(lines)
                  + '\n' for library, lines in rows.items() if lines]
        DOCUMENT.write_text(HEADER + ''.join(tables))
