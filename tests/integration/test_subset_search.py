"""DARTS and GDAS in a run: what they learn from, and resuming."""

import pytest
import torch

DARTS = dict(type='mmrlkd.DARTSSelector', lr=0.05)
SECOND = dict(type='mmrlkd.DARTSSelector', lr=0.05, order=2)
GDAS = dict(type='mmrlkd.GDASSelector', lr=0.05)
PHASES = dict(total=4, validate=False, phases=[
    dict(name='pretrain', share=0.25), dict(name='search', share=0.75)])


@pytest.mark.parametrize('selector, images', [
    (DARTS, [4, 14, 24, 34]), (SECOND, [4, 18, 32, 46]), (GDAS, [4, 14, 24, 34]),
], ids=['darts', 'second order', 'gdas'])
def test_a_search_runs(
        search_config, train, tmp_path, selector, images, logged):
    runner = train(search_config(selector, **PHASES))
    log = logged(tmp_path / 'run')
    assert [line['search_images'] for line in log] == images
    assert runner.model.search_images == images[-1]
    assert runner.model.held_out.given == 3
    assert ['policy.task' in line for line in log] == [False] + [True] * 3
    for line in log[1:]:
        assert line['policy.skipped_steps'] == 0
        assert line['policy.effect_scale'] > 0
        assert 0 < line['search.cost'] < 1 and line['search.entropy'] > 0
    chosen = [line['levels_per_image'] for line in log]
    if selector is GDAS:  # one subset a batch
        assert all(1 <= n <= 4 and n == int(n) for n in chosen[1:])
    else:
        assert chosen == [4] * 4
    alpha = runner.model.selector.alpha
    assert alpha[1:].abs().min() > 0 and alpha.isfinite().all()
    assert runner.model.selector.best_levels()


@pytest.mark.parametrize('selector, by_epoch', [
    (SECOND, False), (GDAS, True)], ids=['darts by iteration', 'gdas by epoch'])
def test_resumed_is_uninterrupted_bit_for_bit(
        search_config, train, tmp_path, selector, by_epoch, state_of,
        assert_same, leave):
    phases = [dict(name='pretrain', share=0.25),
              dict(name='search', share=0.75, learn_every=2)]
    whole = train(search_config(
        selector, 'whole', phases=phases, total=4, by_epoch=by_epoch))
    leave(tmp_path / 'killed', tmp_path / 'whole',
          'epoch_2' if by_epoch else 'iter_2')
    resumed = train(search_config(
        selector, 'killed', phases=phases, total=4, by_epoch=by_epoch),
        resume=True)
    assert_same(state_of(whole), state_of(resumed))


def test_searching_does_not_disturb_training(search_config, train):
    """With weights that α cannot move and levels that it cannot choose, the
    student is the one that a run without search trains."""
    searched = train(search_config(
        dict(DARTS, lr=1e-30), 'searched', **PHASES))
    plain = train(search_config(
        DARTS, 'plain', total=4, validate=False, phases=[
            PHASES['phases'][0], dict(PHASES['phases'][1], learn_every=0)]))
    assert plain.model.held_out.given == 0
    for key, value in searched.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[key]), key


def test_no_held_out_images_no_search(run_config, train):
    with pytest.raises(ValueError, match='selector is a DARTSSelector, which '
                                         'learns from held-out images'):
        train(run_config(selector=DARTS, **PHASES))


def test_training_images_are_no_held_out_images(
        search_config, train, scenes_dataset):
    cfg = search_config(DARTS, **PHASES)
    cfg.custom_hooks[-1]['dataloader']['dataset'] = scenes_dataset('train')
    with pytest.raises(ValueError, match='shares 16 of its 16 images'):
        train(cfg)
