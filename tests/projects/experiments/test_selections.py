from pathlib import Path

import pandas as pd
import pytest
import torch
from mmengine.config import Config, ConfigDict

import projects.scenes.detection  # noqa: F401
from mmrlkd.engine.trained import count_parameters, load_distiller
from projects.experiments.figures import examples
from projects.experiments.selections import (
    Selections,
    pick_examples,
    select,
    strata_keys,
)


def make(levels: list[str], strata: list[str]) -> Selections:
    return Selections(('P2', 'P3'), True, 0.5, 256, pd.DataFrame(dict(
        img_id=range(len(levels)), path=[f'{i}.png' for i in range(len(levels))],
        levels=levels, strata=strata, boxes=[[]] * len(levels))))


def test_rates_by_stratum() -> None:
    rates = make(['P2', 'P2 P3', 'P3'], ['1-3', '1-3', '>10']).rates()
    assert list(rates.index) == ['all', '1-3', '>10']
    assert rates.loc['all'].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert rates.loc['1-3'].tolist() == [1, 0.5]
    assert rates.loc['>10'].tolist() == [0, 1]


def test_the_number_of_distinct_subsets_is_a_column() -> None:
    assert make(['P2', 'P2', 'P2'], [''] * 3).columns()['distinct_subsets'] == 1
    assert make(['P2', 'P3', 'P2'], [''] * 3).columns()['distinct_subsets'] == 2


def test_selections_survive_their_file() -> None:
    chosen = make(['P2', ''], ['1-3', '1-3 dense'])
    again = Selections.loads(chosen.dumps())
    assert again.images.equals(chosen.images)
    assert again.columns() == chosen.columns()


def test_pictures_show_different_choices_first() -> None:
    chosen = make(['P3', 'P3', 'P2', 'P3', 'P3', 'P2 P3'], ['a'] * 3 + ['b'] * 3)
    picked = pick_examples(chosen.images)
    assert picked.stratum.tolist() == ['a', 'a', 'b', 'b']
    assert picked.levels.tolist() == ['P3', 'P2', 'P2 P3', 'P3']


def test_the_caption_names_who_gives_all_images_the_same_levels() -> None:
    text = examples.caption(dict(
        ppo=make(['P2 P3', 'P2 P3'], ['a', 'b']), grpo=make(['P2', 'P3'], ['a'] * 2),
        worth=make(['', ''], ['a', 'b'])))
    assert text.endswith('The same levels for all images: PPO (P2 P3), worth (none).')
    assert 'The same' not in examples.caption(dict(
        ppo=make(['P2', 'P3'], ['a', 'b'])))


@pytest.fixture
def trained(build_distiller, tiny_student: dict, tiny_teacher: dict,
            tiny_scenes: Path, tmp_path: Path) -> tuple[Config, Path]:
    """Config and checkpoint of a PPO run."""
    selector = dict(type='mmrlkd.PolicySelector')
    model = build_distiller(selector=selector)
    checkpoint = tmp_path / 'iter_1.pth'
    torch.save({'state_dict': model.state_dict(),
                'mmrlkd': {'distiller': model.run_state()}}, checkpoint)
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
    chosen = select(load_distiller(cfg, checkpoint), cfg)
    assert chosen.adaptive and chosen.trunk_gflops > 0
    assert len(chosen.images) == 8
    assert all(map(len, chosen.images.boxes))
    assert {'1-3', '>10'} <= set(chosen.rates().index)
    again = select(load_distiller(cfg, checkpoint), cfg)
    assert again.images.equals(chosen.images)


def test_images_of_concatenated_files_with_equal_ids_all_count(
        trained: tuple[Config, Path], tiny_scenes: Path) -> None:
    """Image ids of both files begin at 1; every second image is chosen for."""
    cfg, checkpoint = trained
    part = cfg.val_dataloader.dataset
    train = dict(part, ann_file='annotations/train.json',
                 data_prefix=dict(img='train/'))
    cfg.val_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[part, train])
    model = load_distiller(cfg, checkpoint)
    chosen = select(model, cfg)
    assert len(chosen.images) == 8 + 16
    assert chosen.images.img_id.nunique() == 16
    parts = [Path(path).parent.name for path in chosen.images.path]
    assert parts == ['val'] * 8 + ['train'] * 16
    chosen.images['levels'] = ['P2', 'P3'] * 12
    assert chosen.rates().loc['all', ['P2', 'P3']].tolist() == [0.5, 0.5]


@pytest.mark.parametrize('evaluator', [
    None, [dict(type='CocoMetric'), dict(type='Speed')]])
def test_evaluator_lists_and_none_group_by_the_default_keys(evaluator) -> None:
    assert strata_keys(Config(dict(val_evaluator=evaluator))) == (
        'difficulty', 'dense_small')


def test_a_loaded_distiller_is_the_saved_one(
        trained: tuple[Config, Path]) -> None:
    cfg, checkpoint = trained
    saved = torch.load(checkpoint, weights_only=True)['mmrlkd']
    model = load_distiller(cfg, checkpoint)
    assert not model.training
    policy = model.selector.policy.state_dict()
    for name, value in saved['distiller']['selector']['policy'].items():
        assert torch.equal(policy[name], value)
    assert count_parameters(checkpoint) == sum(
        p.numel() for p in model.student.parameters())


def test_what_is_no_distiller_is_refused(trained: tuple[Config, Path]) -> None:
    cfg, checkpoint = trained
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    torch.save({'state_dict': weights}, checkpoint)
    with pytest.raises(ValueError, match="has no 'mmrlkd', where connectors"):
        load_distiller(cfg, checkpoint)
    cfg.model = ConfigDict(type='RetinaNet')
    with pytest.raises(ValueError, match="'RetinaNet', which distils nothing"):
        load_distiller(cfg, checkpoint)
