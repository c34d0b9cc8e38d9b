"""Each pair of docs/pairs.md, written as the page shows it.

That the pairs build and train is tested in test_zoo.py.
"""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmrlkd.config.compose import load_config, read_method

PAGE = (Path(__file__).parents[2] / 'docs/pairs.md').read_text()
TEXT = re.search(r'```python\n(.*?)```', PAGE, re.DOTALL)[1]
LIBRARY = dict(re.findall(r'^## [^\n]*, (\w+)\n\n(.*?)(?=^##|\Z)', PAGE,
                          re.DOTALL | re.MULTILINE))
PAIRS = [(f'{library}::{student}.py', f'{library}::{teacher}.py')
         for library, table in LIBRARY.items()
         for student, teacher in re.findall(
             r'^\| `([^`]+)` \| `([^`]+)` \|', table, re.MULTILINE)]
#: Imports modules of another library's, which the page's table has not.
IMPORTING = ('mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
             'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')


def compose(student: str, teacher: str, folder: Path) -> tuple[Config, Config]:
    """The page's config of a pair, and the student's own."""
    shown = re.findall(r"'(mmdet::[^']+)'", TEXT)
    assert len(shown) == 2
    path = folder / 'pair.py'
    path.write_text(TEXT.replace(shown[0], student).replace(shown[1], teacher))
    return load_config(path), Config.fromstring(f'_base_ = [{student!r}]', '.py')


def unscoped(model: dict) -> dict:
    return {key: value for key, value in model.items() if key != '_scope_'}


def test_the_page_has_the_pairs() -> None:
    assert {name: table.count('\n| `') for name, table in LIBRARY.items()} == {
        'mmdet': 15, 'mmseg': 11, 'mmpretrain': 9}
    assert len(PAIRS) == 35


@pytest.mark.parametrize(
    ('student', 'teacher'), PAIRS,
    ids=lambda name: name.partition('/')[2].removesuffix('.py'))
def test_a_pair_composes_as_the_page_shows(student, teacher, tmp_path):
    """The student's own model, data and schedule; the named teacher; PPO."""
    cfg, library = compose(student, teacher, tmp_path)
    assert unscoped(cfg.model.student) == unscoped(library.model)
    assert cfg.model.teacher.config == teacher
    assert cfg.model.selector == read_method('ppo').model.selector
    assert [hook['type'] for hook in cfg.custom_hooks] == [
        *(hook['type'] for hook in library.get('custom_hooks') or []),
        'mmrlkd.SeedHook', 'mmrlkd.PhaseHook', 'mmrlkd.PolicyHealthHook']
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator',
                'optim_wrapper', 'param_scheduler', 'train_cfg',
                'default_scope'):
        assert cfg[key] == library[key], key
    assert cfg.default_hooks.checkpoint == {
        **library.default_hooks.checkpoint,
        'type': 'mmrlkd.DistillCheckpointHook'}


def test_what_the_students_config_imports_is_imported(tmp_path):
    cfg, library = compose(*IMPORTING, tmp_path)
    assert cfg.custom_imports.imports == [
        *library.custom_imports.imports, 'mmrlkd'] == [
            'mmpretrain.models', 'mmrlkd']
