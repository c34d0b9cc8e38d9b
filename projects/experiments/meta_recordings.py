"""The recorded tasks of the meta-learning study, made from nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from projects.scenes.scenes import SceneConfig
from projects.scenes.writer import write_dataset

from .processes import THREADS, cores
from .runs import ExperimentFailed

#: Of all students: one reward, one policy.
METHOD = 'configs/meta/method.py'
IMAGES = 400


@dataclass(frozen=True)
class DemoTask:
    """A demo pair, in trainings of a few minutes: shorter than the demo's, as the
    policies are studied here and not the students.

    Attributes:
        name: of its config in configs/demo.
        teacher: iterations of its training.
        student: iterations after which the student is recorded.
        data: folder of the scenes.
        scenes: that are in it.
    """
    name: str
    teacher: int = 250
    student: int = 150
    data: str = 'data/scenes'
    scenes: SceneConfig = SceneConfig()

    @property
    def folder(self) -> Path:
        """Of trainings and recording."""
        return Path('work_dirs/meta', self.name)

    @property
    def recording(self) -> Path:
        """File of the recorded environment."""
        return self.folder / 'recording.safetensors'


TASKS = (
    DemoTask('detection'),
    DemoTask('instance', teacher=80, student=60),
    DemoTask('segmentation'),
    DemoTask('classification', teacher=300, student=200, data='data/scenes_10',
             scenes=SceneConfig(size=64, classes=10)),
)


def make_recordings(tools: Path, report: Callable[[str], None]) -> None:
    """Train and record what is missing; killed at any moment, it continues.

    Args:
        tools: folder of the tools.
        report: told what begins.

    Raises:
        ExperimentFailed: a training failed.
    """
    for task in TASKS:
        if task.recording.is_file():
            continue
        write_dataset(Path(task.data), task.scenes, cores())
        for words in commands(task):
            report(' '.join(words))
            if subprocess.run(
                    [sys.executable, str(tools / words[0]), *words[1:]],
                    env={**os.environ, 'OMP_NUM_THREADS': str(THREADS)}).returncode:
                raise ExperimentFailed(f'{" ".join(words)} failed.')


def commands(task: DemoTask) -> list[list[str]]:
    """The tools that are called for a task, with their arguments."""
    config = f'configs/demo/{task.name}.py'
    teacher = task.folder / 'teacher' / f'iter_{task.teacher}.pth'
    student = task.folder / 'student' / f'iter_{task.student}.pth'
    taught = f'model.teacher.checkpoint={teacher}'
    return [
        ['train.py', f'configs/demo/{task.name}_teacher.py', '--work-dir',
         str(teacher.parent), '--resume', '--cfg-options',
         *_length(task.teacher)],
        ['train.py', config, '--method', METHOD, '--work-dir',
         str(student.parent), '--resume', '--cfg-options', taught,
         *_length(task.student)],
        ['record_environment.py', config, str(student), '--method', METHOD,
         '--images', str(IMAGES), '--out', str(task.recording),
         '--cfg-options', taught],
    ]


def _length(iterations: int) -> list[str]:
    """Options of a training of so many iterations, which is not evaluated."""
    return [f'train_cfg.max_iters={iterations}',
            f'train_cfg.val_interval={1000 * iterations}',
            f'param_scheduler.1.end={iterations}']
