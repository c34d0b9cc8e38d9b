"""Adapt a meta-policy to a new task's recorded environment.

    python tools/adapt.py META RECORDING [--shots 100] [--steps 5] [--lr LR] [--seed 0]
        [--student CHECKPOINT] [--out FILE.pth]

META is written by ``tools/meta_train.py``, RECORDING by
``tools/record_environment.py``. The result is a file for ``model.selector.init``, with
``adapt_steps=0``. On the images that were not adapted to, it prints the regret to the
best subset of each image, beside that of the best fixed subset.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import mmrlkd  # noqa: F401
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.distillation.selection.meta_policy import load_meta_policy
from mmrlkd.distillation.selection.policies import TokenPolicy
from mmrlkd.distillation.selection.recorded import (
    RecordedEnvironment,
    load_recording,
)
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.files import digest
from mmrlkd.rl.meta import MAML, ExactReward, check_shots


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Adapt a meta-policy to a new task's recorded environment.")
    parser.add_argument('meta', type=Path, help='of tools/meta_train.py')
    parser.add_argument(
        'recording', type=Path, help='of tools/record_environment.py')
    parser.add_argument('--shots', type=int, default=100,
                        help='images adapted to; default: 100')
    parser.add_argument('--steps', type=int, default=5,
                        help='gradient steps; default: 5')
    parser.add_argument('--lr', type=float, help="default: the meta-policy's")
    parser.add_argument('--seed', type=int, default=0, help='draws the images')
    parser.add_argument(
        '--student', type=Path, metavar='CHECKPOINT',
        help='refuse a recording of another student than this one')
    parser.add_argument(
        '--out', type=Path, help='default: RECORDING with _adapted.pth')
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = args.recording.with_name(
            f'{args.recording.stem}_adapted.pth')
    return args


def adapt(args: argparse.Namespace) -> None:
    """Adapt, write the file, and print what it is worth."""
    meta = load_meta_policy(args.meta, 'META')
    recording, header = load_recording(
        args.recording, args.student and digest(args.student))
    if header.reward != meta.reward:
        raise ValueError(
            f'{args.recording} has the reward {header.reward} and {args.meta} '
            f'{dict(meta.reward)}; accepted: a task with that reward.')
    task = RecordedEnvironment(
        recording, header.space, meta.horizon, header.efficiency)
    check_shots('adapt', args.shots, task, spared=1)
    torch.manual_seed(args.seed)
    support, rest = (task.take(part) for part in torch.randperm(
        task.batch_size).tensor_split([args.shots]))
    lr = meta.lr if args.lr is None else args.lr
    learner = MAML(meta.policy, ExactReward(), lr=lr)
    before, after = (learner.fast_adapt(support, args.shots, steps)
                     for steps in (0, args.steps))
    assert isinstance(after, TokenPolicy)
    write_atomically(args.out, replace(
        meta, policy=after, lr=lr, space=header.space).to_bytes())
    fixed, regret = support.fixed_regret()
    fixed_rest = rest.returns.amax(-1) - rest.returns[
        :, (rest.tree.outcomes == fixed).nonzero()[0, 0]]
    names = [name for i, name in enumerate(header.space.names) if fixed >> i & 1]
    print(f'Regret to the best subset of each of {rest.batch_size} other images: '
          f'{rest.regret(before).mean():.3f} before, '
          f'{rest.regret(after).mean():.3f} after {args.steps} updates from '
          f"{args.shots} images; {'+'.join(names) or 'none'}, the best fixed "
          f'subset for these, {fixed_rest.mean():.3f}.')
    print(f'{args.out} is written: model.selector.init={args.out} '
          'model.selector.adapt_steps=0')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, 'adapt.py'):
        adapt(args)


if __name__ == '__main__':
    main()
