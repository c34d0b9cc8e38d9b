"""Build everything a config names, without training, and show what it does.

    python tools/check.py CONFIG [--method NAME|FILE] [--skip-weights]
        [--cfg-options KEY=VALUE …]
    python tools/check.py --pair STUDENT TEACHER [--method NAME|FILE]

The second form shows what two configs of a library, named as in
``mmdet::retinanet/retinanet_r18_fpn_1x_coco.py``, would have in common.

Prints for each level the tapped module, its connector and its cost. Exits with 1
and a sentence if something is wrong.
"""

import argparse
import sys

from mmengine.config import Config, DictAction
from mmengine.registry import HOOKS, init_default_scope
from rich.console import Console
from rich.table import Table

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import (
    add_method_argument,
    load_config,
    put_method,
)
from mmrlkd.config.data_check import check_data
from mmrlkd.config.decisions import dead_copies, decisions
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.inspection import check_annotations, check_plugs, check_start
from mmrlkd.config.pair import pair_model
from mmrlkd.config.student import check_distils, model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.engine import GradNormHook
from mmrlkd.engine.phase_hook import check_phases
from mmrlkd.files import no_code_from_files
from mmrlkd.registry import MODELS, STRATEGIES
from mmrlkd.search.evaluator import take_budget
from mmrlkd.search.settings import SearchSettings, searches


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Check a distillation config without training.')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('config', nargs='?', help='config file')
    what.add_argument(
        '--pair', nargs=2, metavar=('STUDENT', 'TEACHER'),
        help="two configs of a library, as in 'mmdet::…'")
    add_method_argument(parser)
    parser.add_argument(
        '--skip-weights', action='store_true',
        help="load neither the teacher's checkpoint nor the data")
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    return parser.parse_args(argv)


def build(cfg: Config, skip_weights: bool) -> PyramidDistiller:
    """Build the config's model, and check its phases with it.

    Raises:
        ValueError: something in the config cannot work.
    """
    check_distils(cfg)
    if skip_weights and cfg.model.get('teacher'):
        cfg.model.teacher.checkpoint = None
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    check_plugs(cfg)
    balancing = []
    for each in cfg.get('custom_hooks') or []:
        hook = HOOKS.build(each)
        if isinstance(hook, GradNormHook):
            balancing.append(hook)
    if not skip_weights:
        check_start(cfg)
        check_annotations(cfg)
    built = model_config(cfg)
    if searches(cfg) and cfg.search.get('strategy'):
        take_budget(built)
    model = MODELS.build(built)
    if not skip_weights and model.teacher is not None:
        model.teacher.require_weights()
    check_phases(cfg, model)
    model.check_trainable()
    for hook in balancing:
        hook.balance(model)
    return model


def describe(model: PyramidDistiller) -> Table:
    """A row for each level."""
    part = model.distillation
    table = Table(title=(
        f'{type(model.student).__name__} learns from '
        f'{type(part.teacher.model).__name__}, levels chosen by '
        f'{type(model.selector).__name__}; maps of a '
        f'{part.teacher.adapter.probe.size} px image'))
    for column in ('level', 'tap', 'teacher C×h×w /stride',
                   'student C×h×w /stride', 'connector', 'loss', 'cost',
                   'MFLOPs', 'teacher weights'):
        table.add_column(column)
    rows = zip(model.levels, part.teacher.levels, part.links,
               part.space.costs, part.flops.levels, strict=True)
    for mine, theirs, links, cost, flops in rows:
        name = mine.name + (
            f' ← {theirs.name}' if theirs.name != mine.name else '')
        shapes = [
            f'{level.channels}×{level.size[0]}×{level.size[1]} '
            f'/{level.stride:g}' for level in (theirs, mine)
        ]
        sources = [part.teacher.levels[link.teacher] for link in links]
        bridge = links.describe('connector')
        if not any(True for link in links
                   for _ in link.connector.parameters()):
            bridge += ', identity'
        if any(mine.size != source.size for source in sources):
            bridge += ' + resize'
        if sources != [theirs]:
            bridge += ' from ' + ', '.join(source.name for source in sources)
        table.add_row(
            name, mine.path, *shapes, bridge,
            links.describe('loss'), f'{cost:g}', f'{flops / 1e6:.2f}',
            'skipped' if part.teacher.checkpoint is None else 'matched')
    return table


def describe_logits(model: PyramidDistiller) -> str:
    """A sentence about the distillation of logits."""
    part = model.logit_distillation
    assert part is not None and model.teacher is not None
    return (f'{type(model.student).__name__} learns from the logits of '
            f'{type(model.teacher.model).__name__} by '
            f'{type(part.loss).__name__}, weight {model.logit_weight:g}; '
            f'besides its backbone, the teacher runs {part.gflops * 1e3:.1f} '
            'MFLOPs for them, once an image.')


def describe_search(settings: SearchSettings, model: PyramidDistiller,
                    budget: float | None) -> str:
    """A sentence about what tools/search.py would do.

    Args:
        settings: of the search.
        model: with which it begins.
        budget: of an image, which recipes keep.

    Raises:
        ValueError: something in the search cannot work.
    """
    if settings.strategy is None:
        return (f'Search: the training itself, by '
                f'{type(model.selector).__name__}.')
    strategy = STRATEGIES.build(dict(settings.strategy))
    strategy.bind(model.distillation.space.limited(budget), settings.seed)
    each = settings.evaluation()
    start = (f'from a student trained for {each.shared_iterations} before'
             if each.shared_iterations else 'on its own')
    return (f'Search: {type(strategy).__name__}, {strategy.total} candidates, '
            f'each trained for {each.iterations} iterations, {start}, and '
            f'scored by {each.metric}.')


def describe_decisions(cfg: Config, model: PyramidDistiller) -> Table:
    """A row for each value that decides what the training does."""
    table = Table(title='What decides')
    for column in ('key', 'value'):
        table.add_column(column, overflow='fold')
    for row in decisions(cfg, model.selector):
        table.add_row(*row)
    return table


@errors_as_sentences()
@no_code_from_files()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    data: list[str] = []
    with errors_as_sentences(CONFIG_ERRORS):
        if args.pair:
            cfg = Config(dict(model=pair_model(*args.pair)))
            if args.method:
                put_method(cfg, args.method)
            model = MODELS.build(cfg.model)
        else:
            cfg = load_config(args.config, args.method, args.cfg_options)
            model = build(cfg, args.skip_weights)
            data = [] if args.skip_weights else check_data(cfg)
        search = ('' if not searches(cfg) else
                  describe_search(SearchSettings.of(cfg), model,
                                  cfg.model.get('budget')))
    console = Console(width=160 if not sys.stdout.isatty() else None)
    for line in data:
        console.print(line)
    if model.logit_distillation is not None:
        console.print(describe_logits(model))
    if model.distils:
        show_distillation(console, model)
    elif model.teacher is None:
        console.print('The student is trained alone: nothing is distilled.')
    if args.method or not args.pair:
        console.print(describe_decisions(cfg, model))
        for line in dead_copies(cfg):
            console.print(f'Not read: {line}')
    if search:
        console.print(search)


def show_distillation(console: Console, model: PyramidDistiller) -> None:
    """Print what is distilled at each level, and its cost."""
    console.print(describe(model))
    part = model.distillation
    console.print(
        f'Teacher, once an image, if all levels are selected: '
        f'{part.flops.trunk / 1e6:.1f} MFLOPs. Budget: '
        f'{part.space.budget:g} of {sum(part.space.costs):g}. '
        f'Loss weight: {model.loss_weight:g}.')
    if model.balancing is not None:
        console.print(
            f'Losses balanced by {type(model.balancing.balancer).__name__}' + (
                f', from their gradients at {model.balancing.layer}.'
                if model.balancing.layer else '.'))


if __name__ == '__main__':
    main()
