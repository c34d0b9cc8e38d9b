"""Training the runs of an experiment, several at a time."""

import copy
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmrlkd.config.errors import CONFIG_ERRORS
from mmrlkd.config.inspection import check_config
from mmrlkd.config.student import model_config
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.trained import count_parameters
from mmrlkd.registry import MODELS

from .processes import THREADS, Session, launch
from .results import FACTS, read_run
from .runs import ExperimentFailed, Run, Search, end_of


def match_random(runs: Sequence[Run]) -> list[Run]:
    """Give each random selector the mean cost that the policy of its seed had,
    measured: the two then differ in what they choose, not in what they spend.

    The policy is the method ``ppo``, or the only one that has a policy; where
    there is none, a random selector spends what its config says.
    """
    policies = {run.method for run in runs if run.selector == 'PolicySelector'}
    like = ('ppo' if 'ppo' in policies else
            next(iter(policies)) if len(policies) == 1 else None)
    models = {run.seed: run for run in runs if run.method == like}
    return [replace(run, cost_of=models.get(run.seed))
            if run.selector == 'RandomSelector' else run for run in runs]


def train_all(teacher: Run | None, students: Sequence[Run | Search],
              jobs: int, session: Session) -> None:
    """Train ``jobs`` runs at a time; those that distil wait for the teacher,
    those that spend what another spent for that one.

    Args:
        teacher: None if it is there and the students know where.
        students: in the order in which they begin.
        jobs: at least 1.
        session: of the experiment.

    Raises:
        ExperimentFailed: a config cannot work, or a training failed; the others
            were ended.
    """
    for run in (*([teacher] if teacher else []), *students):
        _ = (run.run if isinstance(run, Search) else run).task  # may be refused
    waits = {run for run in students if teacher and run.distils}
    if teacher and not teacher.finished:
        check_waiting(run.run if isinstance(run, Search) else run for run in waits)
    begun: dict[Run | Search, Future] = {}
    checkpoint = None

    def work(run: Run | Search) -> None:
        # Never waits for what has not begun: it was submitted before.
        if run.cost_of in begun:
            begun[run.cost_of].result()
        train(run, checkpoint if run.distils else None, session)

    order = sorted(students, key=lambda run: run.cost_of is not None)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            # The teacher first, and beside it what does not need it.
            for run in (*([teacher] if teacher else []), *order):
                if run not in waits:
                    begun[run] = pool.submit(work, run)
            if teacher:
                begun[teacher].result()
                checkpoint = teacher.checkpoint
            for run in order:
                if run in waits:
                    begun[run] = pool.submit(work, run)
            for future in as_completed(begun.values()):
                future.result()
        except BaseException:
            session.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def check_waiting(runs: Iterable[Run]) -> None:
    """Build the models that wait for a teacher, so that a config that cannot work is
    refused before the teacher trains.

    Raises:
        ExperimentFailed: there is one.
    """
    for run in {(run.config, run.recipe, run.options): run for run in runs}.values():
        cfg = copy.deepcopy(run.cfg)
        cfg.model.teacher.checkpoint = None
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        try:
            check_config(cfg)
            MODELS.build(model_config(cfg))
        except CONFIG_ERRORS as error:
            raise ExperimentFailed(f'{run.name}: {error}') from error


def train(run: Run | Search, teacher: Path | None, session: Session) -> None:
    """Train and evaluate, or continue; nothing if that is done.

    Args:
        run: what; of a search, first the search itself.
        teacher: checkpoint to learn from, unless the run knows it.
        session: of the experiment.

    Raises:
        ExperimentFailed: the training failed, or was ended.
    """
    taught = [] if teacher is None else [f'model.teacher.checkpoint={teacher}']
    if isinstance(run, Search):
        search(run, taught, session)
        run = run.found
    options = [f'randomness.seed={run.seed}', *run.options, *taught,
               *_measured_cost(run)]
    reporter = session.reporter
    if not run.finished:
        reporter.begin(run)
        if not run.trained:
            launch(run, run.log, [
                session.tools / 'train.py', *run.words, '--resume',
                '--work-dir', run.folder, '--cfg-options', *options], session)
        # Killed while it evaluated, a run resumes to do nothing.
        if run.trained and not run.finished:
            launch(run, run.log, [
                session.tools / 'test.py', run.dumped, run.checkpoint,
                '--work-dir', run.folder], session)
        if not run.finished:
            raise ExperimentFailed(
                f'{run.name} ended without being evaluated at '
                f'{end_of(run.cfg)} ({run.task.main.key} was not logged); its '
                f'log is {run.log}. If its config has changed since it began, '
                f'remove {run.folder}.')
    if not (run.folder / FACTS).is_file():
        assert run.checkpoint is not None
        write_atomically(run.folder / FACTS, json.dumps(dict(
            threads=THREADS,
            parameters=count_parameters(run.checkpoint))).encode())
    row = read_run(run.folder, run.method, run.seed, run.cfg)
    if row is None:
        raise ExperimentFailed(
            f'{run.name} logged no iteration; accepted: a '
            'default_hooks.logger.interval no longer than the run.')
    reporter.end(run, f'{run.task.main.name} {row["quality"]:.1f}')


def _measured_cost(run: Run) -> list[str]:
    """The option that gives a random selector the cost another run had.

    Raises:
        ExperimentFailed: it has already trained at another cost.
    """
    model = run.cost_of
    if model is None:
        return []
    row = read_run(model.folder, model.method, model.seed, model.cfg)
    assert row is not None
    cost = round(row['distill_cost'], 4)
    if run.dumped.is_file():
        had = Config.fromfile(
            run.dumped, import_custom_modules=False).model.selector.get('cost')
        if had is None or abs(had - cost) > 1e-4:
            raise ExperimentFailed(
                f'{run.name} was trained at cost={had}, and '
                f'{model.name} had {cost}; accepted: the same cost. To train '
                f'it anew, remove {run.folder}.')
    return [f'model.selector.cost={cost}']


def search(task: Search, options: list[str], session: Session) -> None:
    """Search, or continue; nothing if that is done.

    Args:
        task: what to search for.
        options: ``KEY=VALUE`` beside those of its run.
        session: of the experiment.

    Raises:
        ExperimentFailed: the search failed, or was ended.
    """
    if task.finished:
        return
    run = task.run
    session.reporter.begin(task)
    seeds = [f'randomness.seed={run.seed}', f'search.seed={run.seed}']
    if run.cfg.search.get('evaluator'):
        seeds.append(f'search.evaluator.seed={run.seed}')
    launch(task, run.folder / 'search.log', [
        session.tools / 'search.py', *run.words, '--work-dir', run.folder,
        '--cfg-options', *seeds, *run.options, *options], session)
    if not task.found.config.is_file():
        raise ExperimentFailed(
            f'{task.name} ended without {task.found.config}; its log is '
            f'{run.folder / "search.log"}.')
    record = task.newest()
    session.reporter.end(
        task, f'{int(record["iter"]) if record else 0} candidates')
