"""The one teacher of a comparison."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from .results import FACTS
from .runs import TEACHER, ExperimentFailed, Run, newest_checkpoint


def find_teacher(work_dir: Path, runs: Sequence[Run],
                 options: tuple[str, ...]) -> Run | str | None:
    """What the runs that distil learn from.

    Args:
        work_dir: of the comparison; a teacher trained there is preferred.
        runs: their configs name the teacher.
        options: for its training.

    Returns:
        The checkpoint that the configs name, if it is there; otherwise the
        teacher's training; None where nothing distils.

    Raises:
        ExperimentFailed: there is more than one teacher, or one that is not
            there and cannot be trained.
    """
    taught = [run for run in runs if run.distils]
    if not taught:
        return None
    first = taught[0].cfg.model.teacher
    for run in taught[1:]:
        if run.cfg.model.teacher != first:
            raise ExperimentFailed(
                f'{run.config}: model.teacher={dict(run.cfg.model.teacher)}, '
                f'but {taught[0].config} has {dict(first)}; accepted: the '
                'same teacher in all configs, or the methods differ in more '
                'than what they choose.')
    config, checkpoint = first.get('config'), first.get('checkpoint')
    folder = work_dir / TEACHER
    name = newest_checkpoint(folder)
    trained_here = name is not None and (folder / name).is_file()
    if checkpoint and not trained_here:
        if '://' in checkpoint:
            return checkpoint
        if Path(checkpoint).is_file():
            return str(Path(checkpoint).resolve())
    if not isinstance(config, str):
        raise ExperimentFailed(
            f'{taught[0].config}: model.teacher.checkpoint={checkpoint!r} is '
            'not a file and model.teacher.config names no config to train; '
            'accepted: a checkpoint that is there, or the path of a config.')
    return Run(TEACHER, 0, folder, _locate(config), options)


def keep_history(checkpoint: str, work_dir: Path) -> None:
    """Copy what the training of a teacher from elsewhere logged, so that the
    work dir tells everything; nothing where its folder tells nothing."""
    source = Path(checkpoint).parent
    if newest_checkpoint(source) != Path(checkpoint).name:
        return
    for file in (*source.glob('*.py'), source / 'last_checkpoint',
                 *source.glob('*/vis_data/scalars.json'),
                 *source.glob('*/*.json'), source / FACTS):
        if not file.is_file():
            continue
        copy = work_dir / TEACHER / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _locate(config: str) -> Path:
    """A file, as training needs one."""
    if '::' in config:
        config, _ = Config._get_cfg_path(config, '')
    return Path(config).resolve()
