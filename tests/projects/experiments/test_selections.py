from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmrlkd.engine.checkpoint_hook import sidecar_path
from mmrlkd.engine.trained import count_parameters, load_distiller
from mmrlkd.evaluation.selections import (
    ImageSelection,
    SelectionReport,
    pick_examples,
    read_annotations,
    report_selections,
    selection_rates,
    strata_keys,
)

LEVELS = ('P2', 'P3')


def test_rates_by_stratum() -> None:
    chosen = [ImageSelection(1, 'a', ('P2', )),
              ImageSelection(2, 'b', ('P2', 'P3')),
              ImageSelection(3, 'c', ('P3', ))]
    rates = selection_rates(
        chosen, {'1-3': [1, 2], '>10': [3], 'gone': [9]}, LEVELS)
    assert list(rates) == ['all', '1-3', '>10']
    assert rates['all'] == {'P2': pytest.approx(2 / 3),
                            'P3': pytest.approx(2 / 3)}
    assert rates['1-3'] == {'P2': 1, 'P3': 0.5}
    assert rates['>10'] == {'P2': 0, 'P3': 1}


def test_a_report_survives_its_file() -> None:
    report = SelectionReport(
        LEVELS, True, 0.5, 256, {'all': {'P2': 1., 'P3': 0.}},
        [ImageSelection(1, 'a', ('P2', )), ImageSelection(2, 'b', ())])
    assert SelectionReport.loads(report.dumps()) == report


@pytest.fixture
def trained(build_distiller, tiny_student: dict, tiny_teacher: dict,
            tiny_scenes: Path, tmp_path: Path) -> tuple[Config, Path]:
    """Config and checkpoint of a PPO run."""
    selector = dict(type='mmrlkd.PolicySelector')
    model = build_distiller(selector=selector)
    checkpoint = tmp_path / 'iter_1.pth'
    torch.save({'state_dict': model.state_dict()}, checkpoint)
    torch.save({'distiller': model.sidecar_state()}, sidecar_path(checkpoint))
    dataset = dict(
        type='mmrlkd.ScenesDataset', data_root=str(tiny_scenes),
        ann_file='annotations/val.json', data_prefix=dict(img='val/'),
        test_mode=True, pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path')),
        ])
    cfg = Config(dict(
        default_scope='mmdet',
        model=dict(
            type='mmrlkd.PyramidDistiller', student=tiny_student,
            teacher=tiny_teacher, levels=('P2', 'P3', 'P4', 'P5'),
            selector=selector),
        val_dataloader=dict(
            batch_size=3, num_workers=0, dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False)),
        val_evaluator=dict(type='mmrlkd.DifficultyCocoMetric')))
    return cfg, checkpoint


def test_a_trained_policy_chooses_for_every_image(
        trained: tuple[Config, Path]) -> None:
    cfg, checkpoint = trained
    report = report_selections(load_distiller(cfg, checkpoint), cfg)
    assert report.adaptive
    assert report.trunk_gflops > 0
    assert len(report.images) == 8
    assert all(Path(image.path).is_file() and image.levels
               for image in report.images)
    again = report_selections(load_distiller(cfg, checkpoint), cfg)
    assert again == report

    examples = pick_examples(
        {'ppo': report}, read_annotations(cfg), strata_keys(cfg), 1)
    assert {e.stratum for e in examples} == set(report.rates) - {'all'}
    assert len({e.path for e in examples}) == len(examples)
    assert all(e.boxes and e.levels['ppo'] for e in examples)


def test_a_loaded_distiller_is_the_saved_one(
        trained: tuple[Config, Path]) -> None:
    cfg, checkpoint = trained
    saved = torch.load(sidecar_path(checkpoint), weights_only=True)
    model = load_distiller(cfg, checkpoint)
    assert not model.training
    policy = model.selector.policy.state_dict()
    for name, value in saved['distiller']['selector']['policy'].items():
        assert torch.equal(policy[name], value)
    assert count_parameters(checkpoint) == sum(
        p.numel() for p in model.student.parameters())


def test_what_is_no_distiller_is_refused(trained: tuple[Config, Path]) -> None:
    cfg, checkpoint = trained
    sidecar_path(checkpoint).unlink()
    with pytest.raises(ValueError, match=r'\.distill is not a file'):
        load_distiller(cfg, checkpoint)
    cfg.model = ConfigDict(type='RetinaNet')
    with pytest.raises(ValueError, match="'RetinaNet', which distils nothing"):
        load_distiller(cfg, checkpoint)
