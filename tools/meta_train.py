"""Learn one policy for many tasks, to be adapted to another.

    python tools/meta_train.py CONFIG [--work-dir DIR] [--cfg-options KEY=VALUE …]

CONFIG lists recorded tasks, see configs/meta/ and docs/meta_learning.md. The work dir
gets ``meta.pth``, which ``tools/adapt.py`` and ``model.selector.init`` take, and
``log.json``: each task's regret before and after its adaptation. Killed at any moment,
the same command continues to the same result.
"""

import argparse
from pathlib import Path

from mmengine.config import DictAction
from rich.progress import Progress

import mmrlkd  # noqa: F401
from mmrlkd.arguments import check_choice
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.meta import KEYS, build_training, result_of
from mmrlkd.config.removed import read_config
from mmrlkd.engine.atomic import write_atomically

RESULT = 'meta.pth'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Learn one policy for many tasks. Continues where it was '
        'interrupted.')
    parser.add_argument('config', help='config with recorded tasks')
    parser.add_argument(
        '--work-dir', type=Path,
        help='default: work_dirs/meta/<name of the config>')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    args = parser.parse_args(argv)
    args.work_dir = args.work_dir or Path(
        'work_dirs/meta', Path(args.config).stem)
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = read_config(args.config)
        for key in args.cfg_options or {}:
            check_choice('--cfg-options', 'key', key.partition('.')[0], KEYS)
        cfg.merge_from_dict(args.cfg_options or {})
        training, tasks = build_training(cfg)
        with Progress() as progress:
            bar = progress.add_task('meta-iterations', total=training.iterations)
            log = training.run(args.work_dir, lambda done, line: progress.update(
                bar, completed=done))
    write_atomically(args.work_dir / RESULT, result_of(
        training, tasks, cfg.get('horizon', 1)).to_bytes())
    steps, shots = training.learner.steps, training.learner.shots
    print(f'Regret to the best subset of each image, before → after {steps} '
          f'updates from {shots} images:')
    for name, last in log[-1]['regret'].items():
        first = log[0]['regret'][name]
        part = 'learnt from' if name in training.tasks else 'left out'
        print(f"  {name} ({part}): {last['before']:.3f} → {last['after']:.3f}, "
              f"untrained {first['before']:.3f} → {first['after']:.3f}")
    print(f'{args.work_dir / RESULT} is written.')


if __name__ == '__main__':
    main()
