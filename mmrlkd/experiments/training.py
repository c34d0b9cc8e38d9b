"""Training the runs of an experiment, several at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mmrlkd.evaluation.results import read_run

from .failure import ExperimentFailed
from .process import Session, launch
from .run import Run, end_of
from .searching import Search, search


def train_all(teacher: Run | None, students: Sequence[Run | Search],
              jobs: int, session: Session) -> None:
    """Train ``jobs`` runs at a time; those that distil wait for the teacher.

    Args:
        teacher: None if it is there and the students know where.
        students: in the order in which they begin.
        jobs: at least 1.
        session: of the experiment.

    Raises:
        ExperimentFailed: a training failed; the others were ended.
    """
    with ThreadPoolExecutor(jobs) as pool:
        try:
            # The teacher first, and beside it what does not need it.
            first = [teacher] if teacher else []
            apart = [run for run in students if not (teacher and run.distils)]
            futures = [pool.submit(train, run, None, session)
                       for run in (*first, *apart)]
            if teacher:
                futures[0].result()
                futures += [
                    pool.submit(train, run, teacher.checkpoint, session)
                    for run in students if run.distils]
            for future in as_completed(futures):
                future.result()
        except BaseException:
            session.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


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
    options = [f'randomness.seed={run.seed}', *run.options, *taught]
    reporter = session.reporter
    if not run.finished:
        reporter.begin(run)
        if not run.trained:
            launch(run, run.log, [
                session.tools / 'train.py', run.config, '--resume',
                '--work-dir', run.folder, '--cfg-options', *options], session)
        # Killed while it evaluated, a run resumes to do nothing.
        if run.trained and not run.finished:
            launch(run, run.log, [
                session.tools / 'test.py', run.dumped, run.checkpoint,
                '--work-dir', run.folder], session)
        if not run.finished:
            raise ExperimentFailed(
                f'{run.name} ended without being evaluated at '
                f'{end_of(run.cfg)}; its log is {run.log}. '
                f'If its config has changed since it began, remove '
                f'{run.folder}.')
    try:
        result = read_run(run.folder, run.method, run.seed)
    except ValueError as error:
        raise ExperimentFailed(
            f'{run.name} logged no iteration; accepted: a '
            'default_hooks.logger.interval no longer than the run.'
        ) from error
    reporter.end(run, f'{result.judged.main.name} '
                 f'{100 * (result.quality or 0):.1f}')
