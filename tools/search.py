"""Search for the levels, or the recipe, that suit all images best.

    python tools/search.py CONFIG [--method NAME|FILE] [--work-dir DIR]
        [--cfg-options KEY=VALUE …]

The config's ``search`` says how; see docs/search.md. Writes

    DIR/search/history.jsonl     every candidate: score, cost, images, seconds
    DIR/search/incumbent.json    the best one
    DIR/found.py                 a config that trains with it

Killed at any moment, the same command continues; no finished candidate is
evaluated again.
"""

import argparse
import sys
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import (
    add_method_argument,
    load_config,
    work_dir_of,
)
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.inspection import check_config
from mmrlkd.config.student import check_distils, model_config
from mmrlkd.files import no_code_from_files
from mmrlkd.registry import MODELS
from mmrlkd.search import History, Trial, run_search
from mmrlkd.search.evaluator import ShortTraining, take_budget
from mmrlkd.search.found import (
    FOUND,
    HISTORY,
    INCUMBENT,
    Spent,
    write_found,
    write_incumbent,
)
from mmrlkd.search.in_training import hold_out, search_in_training
from mmrlkd.search.settings import SearchSettings
from mmrlkd.structures import LevelSpace

# Configs of this checkout import projects.scenes.
sys.path.append(str(Path(__file__).resolve().parents[1]))

#: Sections whose options are for the search, not for the training after it.
SEARCH_ONLY = ('custom_hooks', 'param_scheduler', 'search', 'train_cfg')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Search for the levels that suit all images best.')
    parser.add_argument('config', help='config file with a search')
    add_method_argument(parser)
    parser.add_argument(
        '--work-dir', type=Path, help='where everything goes; default: '
        'work_dirs/<name of the config>, with _<method> where --method is '
        'given')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config, as in search.workers=2')
    args = parser.parse_args(argv)
    if args.work_dir is None:
        args.work_dir = Path(work_dir_of(args.config, args.method))
    return args


class Bar:
    """Progress of a search: a bar on a terminal, otherwise lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn('{task.description}'), BarColumn(),
            MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn('{task.fields[best]}'), console=console,
            disable=not console.is_terminal)
        self.task = self.progress.add_task('candidates', total=None, best='')

    def __call__(self, done: int, total: int, best: Trial | None) -> None:
        text = ('no score yet' if best is None else
                f'best {best.outcome.score:.4f}: {best.recipe}')
        self.progress.update(
            self.task, completed=done, total=total, best=text)
        if not self.console.is_terminal:
            self.console.print(f'{done}/{total} candidates, {text}')


def search_recipes(cfg: Config, settings: SearchSettings, work_dir: Path,
                   console: Console) -> tuple[History, Spent]:
    """Search by training and scoring candidates."""
    evaluation = settings.evaluation()
    trained = deepcopy(cfg)
    if settings.data:
        trained.merge_from_dict(dict(settings.data))
    check_config(trained)
    space = _space(trained)
    trained.model.levels = list(space.names)  # where the config leaves them open
    evaluator = ShortTraining(trained, evaluation, work_dir / 'search')

    def begin() -> None:
        if evaluation.shared_iterations:
            console.print(
                'Training the student whose weights the candidates share.')
        evaluator.prepare()

    bar = Bar(console)
    with bar.progress:
        history = run_search(
            settings.strategy, space, evaluator, work_dir / HISTORY,
            executor=settings.executor, workers=settings.workers,
            seed=settings.seed, staleness=settings.staleness,
            efficiency=settings.efficiency,
            about=dict(metric=settings.metric,
                       evaluator=dict(settings.evaluator)),
            begin=begin, progress=bar)
    shared = evaluator.prepare()  # is done; says what it cost
    return history, Spent(history.images + shared.images,
                          history.seconds + shared.seconds)


def _space(cfg: Config) -> LevelSpace:
    """The levels of a config's model; the teacher's weights are not loaded."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = model_config(cfg)
    model.teacher.checkpoint = None
    budget = take_budget(model)
    return MODELS.build(model).distillation.space.limited(budget)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    console = Console(
        width=None if sys.stdout.isatty() else 140, highlight=False)
    try:
        with (errors_as_sentences(CONFIG_ERRORS, args.config),
              no_code_from_files()):
            search(args, console)
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues where this left off.')


def search(args: argparse.Namespace, console: Console) -> None:
    """Search, and write the result.

    Raises:
        ValueError: the config is wrong, or all candidates failed.
    """
    cfg = load_config(args.config, args.method, args.cfg_options)
    settings = SearchSettings.of(cfg)
    check_distils(cfg)
    base = cfg if settings.then is None else load_config(
        args.config, settings.then, {
            key: value for key, value in (args.cfg_options or {}).items()
            if key.partition('.')[0] not in SEARCH_ONLY
            and not key.startswith('model.selector')})
    if settings.strategy is None:
        cfg.work_dir = str(args.work_dir / 'search')
        cfg.resume = True
        hold_out(cfg, settings)
        check_config(cfg)
        history = search_in_training(
            cfg, args.work_dir / HISTORY, settings.metric)
        found: Trial | None = history.trials[-1] if len(history) else None
        spent = Spent(history.images, history.seconds)
    else:
        history, spent = search_recipes(cfg, settings, args.work_dir, console)
        found = history.incumbent
    if found is None:
        errors = [t.outcome.error for t in history.trials if t.outcome.error]
        raise ValueError(
            f'None of {len(history)} candidates has a score'
            + (f'; the last one failed with: {errors[-1]}' if errors else
               '; accepted: at least one validation (train_cfg.val_interval).'))
    write_incumbent(args.work_dir / INCUMBENT, found, len(history), spent)
    write_found(args.work_dir / FOUND, base, found, settings.vocabulary)
    console.print(
        f'Found {found.recipe}: score {found.outcome.score:.4f}, '
        f"{found.cost:.0%} of the full pyramid's cost; {len(history)} "
        f'candidates, {spent.images} images, {spent.seconds:.0f} s.\n'
        f'Train with it: python tools/train.py {args.work_dir / FOUND}',
        soft_wrap=True)


if __name__ == '__main__':
    main()
