"""What each of two processes does; started by torchrun, see the test beside.

    torchrun --nproc_per_node 2 ranks.py FOLDER

reads function and arguments from ``FOLDER/<n>.pth``, n = 0, 1, …, and writes what the
function returned to ``FOLDER/<n>_of_<rank>.pth``.
"""

import copy
import sys
import time
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmrlkd.engine import DistillDataParallel
from mmrlkd.registry import MODELS, SELECTORS
from mmrlkd.rl import Rollout
from mmrlkd.structures import LevelSpace, Phase, State


def build(cfg, weights):
    """A distiller with given weights of what is trained."""
    model = MODELS.build(copy.deepcopy(cfg))
    model.load_state_dict(weights['student'])
    model.distillation.links.load_state_dict(weights['links'])
    return model


def weights_of(model):
    return copy.deepcopy(dict(
        student=model.state_dict(),
        links=model.distillation.links.state_dict(),
        mean=model.distillation.running_mean))


def train(model, wrapped, batch):
    """Three iterations: all levels, frozen backbone, all again."""
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)))
    wrapped.train()
    phases = [Phase('a', 1.0), Phase('b', 1.0, freeze_backbone=True), Phase('c', 1.0)]
    for phase in phases:
        model.schedule.set(phase, 0, 0.0)
        log = wrapped.train_step(copy.deepcopy(batch), optimizer)
    return dict(weights_of(model), skipped=log['skipped_updates'])


def half(batch, rank):
    return {key: value[2 * rank:2 * rank + 2] for key, value in batch.items()}


SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4.0, 2.0, 1.0, 0.5), 7.5,
                   (3, ) * 4, 5)


def update_policy(rollout):
    """One update of a fresh policy; its state dict."""
    torch.manual_seed(0)
    selector = SELECTORS.build(dict(
        type='mmrlkd.PolicySelector', horizon=2,
        policy=dict(type='mmrlkd.LSTMPolicy', hidden=8),
        learner=dict(type='mmrlkd.PPO', epochs=2, minibatches=1, lr=0.01)))
    selector.bind(SPACE)
    selector.learner.update(rollout)
    return selector.policy.state_dict()


def some_rollout() -> Rollout:
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    return Rollout(
        observation=State(
            global_feature=random(2, 8, 5), level_features=random(2, 8, 12),
            loss=random(2, 8).abs(), level_losses=torch.zeros(2, 8, 4),
            selected=random(2, 8, 4) > 0, budget_left=random(2, 8).sigmoid(),
            step=torch.arange(2)[:, None].expand(2, 8),
            context=torch.zeros(2, 8, 0),
            action_mask=torch.ones(2, 8, 16, dtype=torch.bool),
            batch_size=[2, 8]),
        action=torch.randint(1, 16, (2, 8), generator=generator),
        log_prob=torch.full((2, 8), -2.7), value=random(2, 8),
        reward=random(2, 8), batch_size=[2, 8])


def train_policy_half(rank, cfg, weights, batch):
    """Every phase of a learning policy, its levels differing from rank to
    rank; what must be equal on both afterwards."""
    torch.manual_seed(10 + rank)
    model = build(cfg, weights)
    wrapped = DistillDataParallel(model)
    wrapped.train()
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)))
    mine, chosen, updates = half(batch, rank), [], 0
    for phase, length in (
            (Phase('pretrain', 0.2, choose=False, learn_every=0), 2),
            (Phase('policy', 0.4, student_every=2, freeze_backbone=True), 4),
            (Phase('finetune', 0.4, learn_every=2), 4)):
        for iteration in range(length):
            model.schedule.set(phase, iteration, 0.0)
            log = wrapped.train_step(copy.deepcopy(mine), optimizer)
            chosen.append([log[f'select.P{i}'].item() for i in range(2, 6)])
            updates += 'policy.entropy' in log
    return dict(
        weights_of(model), policy=model.selector.policy.state_dict(),
        chosen=chosen, updates=updates)


def search(model, wrapped, batch, held_out):
    """Three iterations of a search; what must be equal on both ranks."""
    wrapped.train()
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)))
    chosen, scales = [], []
    model.held_out.connect(
        lambda _: (copy.deepcopy(held_out) for _ in count()))
    for iteration in range(3):
        model.schedule.set(Phase('search', 1.0), iteration, iteration / 3)
        log = wrapped.train_step(copy.deepcopy(batch), optimizer)
        chosen.append([log[f'select.P{i}'].item() for i in range(2, 6)])
        scales.append(log['policy.effect_scale'].clone())
    return dict(
        weights_of(model), alpha=model.selector.alpha.detach(),
        scales=torch.stack(scales), chosen=chosen, images=model.search_images)


def search_half(rank, cfg, weights, batch, held_out):
    torch.manual_seed(10 + rank)
    model = build(cfg, weights)
    return search(model, DistillDataParallel(model), half(batch, rank),
                  half(held_out, rank))


def balance(model, wrapped, batch, settings=None):
    """Three balanced iterations; what must be equal on both ranks."""
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=0.9),
        **(settings or {})))
    wrapped.train()
    logs = [wrapped.train_step(copy.deepcopy(batch), optimizer)
            for _ in range(3)]
    return dict(
        weights_of(model), balancer=model.balancing.balancer.state_dict(),
        logs=[{key: value.detach() for key, value in log.items()
               if key.startswith(('balance.', 'gradient_'))} for log in logs])


def balance_halves(rank, cases, batch):
    """Each case's config, weights, settings of the optim wrapper, and whether
    rank 1 gets nothing but NaN."""
    found = []
    for cfg, weights, settings, poisoned in cases:
        torch.manual_seed(10 + rank)
        model = build(cfg, weights)
        mine = half(batch, rank)
        if poisoned and rank == 1:
            mine = dict(mine, inputs=[
                torch.full(i.shape, float('nan')) for i in mine['inputs']])
        found.append(balance(
            model, DistillDataParallel(model), mine, settings))
    return found


def train_half(rank, cfg, weights, batch):
    model = build(cfg, weights)
    return train(model, DistillDataParallel(model), half(batch, rank))


def train_half_with_a_nan(rank, cfg, weights, batch):
    if rank == 1:
        batch = dict(batch, inputs=[
            torch.full(i.shape, float('nan')) for i in batch['inputs']])
    found = train_half(rank, cfg, weights, batch)
    try:
        train_half(rank, dict(cfg, max_skipped_updates=2), weights, batch)
    except FloatingPointError as error:
        found['stopped'] = str(error)
    return found


def update_half(rank):
    mine = torch.arange(4 * rank, 4 * rank + 4)
    return update_policy(some_rollout()[:, mine])


def serve(folder, rank):
    """Do what is asked for, one task after the other."""
    for number in count():
        task = folder / f'{number}.pth'
        while not task.is_file():
            time.sleep(0.05)
        asked = torch.load(task, weights_only=False)
        if asked is None:
            return
        function, arguments = asked
        answer = folder / f'{number}_of_{rank}.pth'
        torch.save(globals()[function](rank, *arguments), f'{answer}.part')
        Path(f'{answer}.part').rename(answer)


if __name__ == '__main__':
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    init_default_scope('mmdet')
    serve(Path(sys.argv[1]), dist.get_rank())
    dist.destroy_process_group()
