"""DARTS and GDAS in a run: what they learn from, and resuming."""

import json
from pathlib import Path

import pytest
import torch

DARTS = dict(type='mmrlkd.DARTSSelector', lr=0.05)
SECOND = dict(type='mmrlkd.DARTSSelector', lr=0.05, order=2)
GDAS = dict(type='mmrlkd.GDASSelector', lr=0.05)
PHASES = [dict(name='pretrain', length=1), dict(name='search', length=3)]


@pytest.fixture
def search_config(run_config, scenes_dataset):
    """A run that searches with batches of 2 held-out images."""

    def build(selector, name='run', phases=PHASES, **overrides):
        cfg = run_config(name, selector=selector, phases=phases, **overrides)
        dataset = scenes_dataset('train')  # with its random flips
        dataset.update(ann_file='annotations/val.json',
                       data_prefix=dict(img='val/'))
        cfg.custom_hooks.append(dict(
            type='mmrlkd.HeldOutHook', dataloader=dict(
                batch_size=2, num_workers=0, dataset=dataset,
                sampler=dict(type='InfiniteSampler', shuffle=True))))
        return cfg

    return build


def flat(value, prefix=''):
    """Everything a run leaves behind, tensor by tensor."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f'{prefix}.{key}')
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from flat(item, f'{prefix}.{i}')
    elif value is not None and not isinstance(value, str):
        yield prefix, torch.as_tensor(value)


def state_of(runner):
    return dict(flat(dict(
        student=runner.model.state_dict(),
        sidecar=runner.model.sidecar_state(),
        optimizer=runner.optim_wrapper.state_dict())))


def logged(work_dir):
    lines = [json.loads(line) for file in sorted(
        Path(work_dir).glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()]
    return [line for line in lines if 'iter' in line]


@pytest.mark.parametrize('selector, images', [
    (DARTS, [4, 18, 32, 46]), (SECOND, [4, 22, 40, 58]), (GDAS, [4, 18, 32, 46]),
], ids=['darts', 'second order', 'gdas'])
def test_a_search_runs(search_config, train, tmp_path, selector, images):
    runner = train(search_config(selector))
    log = logged(tmp_path / 'run')
    assert [line['search_images'] for line in log] == images
    assert runner.model.search_images == images[-1]
    assert runner.model.held_out.given == 3
    assert ['policy/task' in line for line in log] == [False] + [True] * 3
    for line in log[1:]:
        assert line['policy/skipped_steps'] == 0
        assert line['policy/effect_scale'] > 0
        assert 0 < line['search/cost'] < 1 and line['search/entropy'] > 0
    chosen = [line['levels_per_image'] for line in log]
    if selector is GDAS:  # one subset a batch
        assert all(1 <= n <= 4 and n == int(n) for n in chosen[1:])
    else:
        assert chosen == [4] * 4
    alpha = runner.model.selector.alpha
    assert alpha[1:].abs().min() > 0 and alpha.isfinite().all()
    assert runner.model.selector.found()


@pytest.mark.parametrize('by_epoch', [False, True], ids=['iters', 'epochs'])
@pytest.mark.parametrize('selector', [SECOND, GDAS], ids=['darts', 'gdas'])
def test_resumed_is_uninterrupted_bit_for_bit(
        search_config, train, tmp_path, selector, by_epoch):
    phases = [dict(name='pretrain', length=1),
              dict(name='search', length=3, learn_every=2)]
    whole = train(search_config(
        selector, 'whole', phases=phases, by_epoch=by_epoch))
    killed, unit = tmp_path / 'killed', 'epoch' if by_epoch else 'iter'
    killed.mkdir()
    for suffix in ('pth', 'distill'):
        name = f'{unit}_2.{suffix}'
        (killed / name).write_bytes((tmp_path / 'whole' / name).read_bytes())
    (killed / 'last_checkpoint').write_text(str(killed / f'{unit}_2.pth'))
    resumed = train(search_config(
        selector, 'killed', phases=phases, by_epoch=by_epoch), resume=True)
    one, two = state_of(whole), state_of(resumed)
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key


def test_searching_does_not_disturb_training(search_config, train):
    """With weights that α cannot move and levels that it cannot choose, the
    student is the one that a run without search trains."""
    searched = train(search_config(dict(DARTS, lr=1e-30), 'searched'))
    plain = train(search_config(
        DARTS, 'plain', phases=[dict(PHASES[0], length=1),
                                dict(PHASES[1], learn_every=0)]))
    assert plain.model.held_out.given == 0
    for key, value in searched.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[key]), key


def test_no_held_out_images_no_search(run_config, train):
    with pytest.raises(ValueError, match='selector is a DARTSSelector, which '
                                         'learns from held-out images'):
        train(run_config(selector=DARTS, phases=PHASES))


def test_training_images_are_no_held_out_images(
        search_config, train, scenes_dataset):
    cfg = search_config(DARTS)
    cfg.custom_hooks[-1]['dataloader']['dataset'] = scenes_dataset('train')
    with pytest.raises(ValueError, match='shares 16 of its 16 images'):
        train(cfg)
