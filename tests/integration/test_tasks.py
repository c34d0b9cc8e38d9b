"""The demo of each task, four iterations long: trained, resumed, tested."""

import importlib.util
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.apis import ImageClassificationInferencer
from mmseg.apis import MMSegInferencer

from mmrlkd.config.compose import load_config
from mmrlkd.engine.trained import load_distiller
from mmrlkd.registry import MODELS
from projects.experiments.results import read_run
from projects.experiments.selections import select
from projects.experiments.tasks import task_of
from projects.scenes.scenes import SceneConfig
from projects.scenes.writer import write_dataset

ROOT = Path(__file__).parents[2]
PHASES = [dict(name='pretrain', share=1 / 3),
          dict(name='policy', share=1 / 3, student_every=2, freeze_backbone=False),
          dict(name='finetune', share=1 / 3)]
#: The task's library, and what adds a term for the logits, if it has any.
TASKS = {
    'segmentation': ('mmseg', dict(type='mmrlkd.KLLoss', tau=1.0)),
    'classification': ('mmpretrain', dict(type='mmrlkd.KLLoss')),
    'instance': ('mmdet', None),
}


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def ten_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 + 8 images of ten classes, as many as the classifiers know."""
    folder = tmp_path_factory.mktemp('data') / 'ten'
    write_dataset(folder, SceneConfig(
        train=8, val=8, size=64, source='digits', classes=10))
    return folder


@pytest.fixture
def short(tiny_scenes: Path, ten_classes: Path,
          tmp_path: Path) -> Callable[..., Config]:
    """A task's config by PPO, on tiny scenes, with a random teacher."""

    def make(task: str) -> Config:
        configs = ROOT / 'configs/demo'
        cfg = load_config(configs / f'{task}.py')
        for key in ('train', 'val', 'test'):
            loader = cfg[f'{key}_dataloader']
            loader.batch_size = 4
            loader.dataset.data_root = '{}/'.format(
                ten_classes if task == 'classification' else tiny_scenes)
        for key in ('val_evaluator', 'test_evaluator'):
            if 'ann_file' in cfg[key]:
                cfg[key].ann_file = str(tiny_scenes / 'annotations/val.json')
        cfg.train_cfg.update(max_iters=3, val_interval=4)
        phases, = (hook for hook in cfg.custom_hooks
                   if hook.type == 'mmrlkd.PhaseHook')
        phases.phases = PHASES
        cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=-1)
        cfg.default_hooks.logger.interval = 1
        cfg.model.logit_loss = TASKS[task][1]
        cfg.model.selector.update(
            rollout_batches=1,
            learner=dict(type='mmrlkd.PPO', epochs=1, minibatches=1))

        library = TASKS[task][0]
        init_default_scope(library)
        teacher = MODELS.build(load_config(configs / f'{task}_teacher.py').model)
        teacher.init_weights()
        cfg.model.teacher.checkpoint = str(tmp_path / 'teacher.pth')
        torch.save(dict(state_dict=teacher.state_dict()),
                   cfg.model.teacher.checkpoint)
        return cfg

    return make


@pytest.mark.parametrize('task', TASKS)
def test_from_the_command_line(
        short, task: str, tmp_path: Path, plain_config_text) -> None:
    cfg = short(task)
    config, work = tmp_path / 'pair.py', tmp_path / 'work'
    cfg.dump(config)

    def call(name: str, *arguments: str | Path, run: str):
        return tool(name).main([
            *map(str, (config, *arguments)), '--cfg-options',
            f'experiment_name={run}', f'visualizer.name={run}'])

    call('train', '--work-dir', work, run='whole')
    result = read_run(work, 'ppo', 0, cfg)
    judged = task_of(cfg)
    assert (result['task'], result['iterations']) == (task, 4)
    assert result['quality'] is not None
    strata = any(key.startswith('stratum/') for key in result)
    assert strata == (task != 'classification')
    assert np.isnan(result['logit_gflops']) == (TASKS[task][1] is None)

    call('train', '--work-dir', tmp_path / 'resumed', '--resume',
         work / 'iter_2.pth', run='resumed')
    whole, resumed = (
        torch.load(folder / 'iter_4.pth', weights_only=True)['state_dict']
        for folder in (work, tmp_path / 'resumed'))
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key

    chosen = select(load_distiller(cfg, work / 'iter_4.pth'), cfg)
    assert len(chosen.images) == 8
    assert (len(chosen.rates()) > 1) == strata

    Path(cfg.model.teacher.checkpoint).unlink()  # testing needs no teacher
    metrics = call('test', work / 'iter_4.pth', '--work-dir',
                   tmp_path / 'tested', '--show-dir', tmp_path / 'drawn',
                   run='tested')
    assert len([*(tmp_path / 'drawn').rglob('*.png')]) == 8
    assert judged.main.read(metrics) == pytest.approx(result['quality'])

    plain = import_module(f'{TASKS[task][0]}.registry').MODELS.build(
        cfg.model.student)
    plain.load_state_dict(whole, strict=True)
    if task != 'instance':  # mmdet's inferencer: tests/tools/test_library_tools.py
        check_inferencer(task, work / 'iter_4.pth')


def check_inferencer(task: str, checkpoint: Path) -> None:
    """The library's inferencer needs only the checkpoint: it builds the student,
    of the config that the checkpoint holds."""
    held = torch.load(checkpoint, weights_only=True)
    image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    if task == 'segmentation':
        inferencer = MMSegInferencer(
            model=None, weights=str(checkpoint), device='cpu')
        assert inferencer(image)['predictions'].shape == (64, 64)
    else:
        plain = Config.fromstring(held['meta']['cfg'], '.py')
        inferencer = ImageClassificationInferencer(
            model=plain, pretrained=str(checkpoint), device='cpu')
        assert inferencer(image)[0]['pred_scores'].shape == (10, )
    state = inferencer.model.state_dict()
    assert state.keys() == held['state_dict'].keys()
    for key, value in held['state_dict'].items():
        assert torch.equal(state[key], value), key
