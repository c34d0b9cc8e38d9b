"""What a finished run achieved and what it cost, read from its work dir."""

import json
from dataclasses import dataclass, field
from pathlib import Path

#: Box metrics of the COCO evaluator by the names used in tables.
COCO_METRICS = {
    'mAP': 'coco/bbox_mAP',
    'AP50': 'coco/bbox_mAP_50',
    'AP75': 'coco/bbox_mAP_75',
    'APs': 'coco/bbox_mAP_s',
    'APm': 'coco/bbox_mAP_m',
    'APl': 'coco/bbox_mAP_l',
}


@dataclass(frozen=True)
class RunResult:
    """One trained model.

    Attributes:
        method: name of the config, e.g. ``'ppo'``.
        seed: of the run.
        metrics: mAP, AP50, AP75, APs, APm, APl, in [0, 1]; None where no
            object is of that size.
        mAP_by_difficulty: box mAP for each stratum of validation images.
        iterations: training iterations run.
        student_updates: those that updated the model.
        levels_per_image: selected levels, mean over the iterations; None for
            a run that distils nothing.
        distill_cost: their nominal cost per image and iteration.
        distill_gflops: counted, per probe image, of the selected levels.
        reward_gflops: counted, of the levels computed for the reward only.
        trunk_gflops: counted, of what the teacher runs for every image.
        seconds_per_iteration: mean wall-clock of a training iteration.
        train_seconds: their sum.
        selection: share of validation images that get each level, for each
            stratum and ``'all'``, chosen as in evaluation.
        curves: logged scalars by name, as ``[[iteration, value], …]``.
    """
    method: str
    seed: int
    metrics: dict[str, float | None]
    mAP_by_difficulty: dict[str, float]
    iterations: int
    student_updates: int
    levels_per_image: float | None
    distill_cost: float | None
    distill_gflops: float | None
    reward_gflops: float | None
    trunk_gflops: float | None
    seconds_per_iteration: float
    train_seconds: float
    selection: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)


def read_scalars(work_dir: str | Path) -> list[dict[str, float]]:
    """Every record that mmengine's LocalVisBackend wrote, oldest first.

    A resumed run writes a new folder; of an iteration logged twice the newer
    record counts.
    """
    training: dict[int, dict[str, float]] = {}
    evaluations = []
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if 'iter' in record:
                training[record['iter']] = record
            else:
                evaluations.append(record)
    return [training[key] for key in sorted(training)] + evaluations


def read_run(work_dir: str | Path, method: str, seed: int,
             trunk_gflops: float | None = None,
             selection: dict[str, dict[str, float]] | None = None
             ) -> RunResult:
    """Read one run's logs.

    Args:
        work_dir: of the run; it trained with an interval of logging equal to
            the window its scalars are averaged over.
        method: its name.
        seed: its seed.
        trunk_gflops: of its teacher, if it has one.
        selection: see :class:`RunResult`.

    Raises:
        ValueError: the run was not evaluated, so it is not finished.
    """
    records = read_scalars(work_dir)
    training = [r for r in records if 'iter' in r]
    evaluated = [r for r in records if COCO_METRICS['mAP'] in r]
    if not training or not evaluated:
        raise ValueError(
            f'{work_dir} holds no finished run: it was not evaluated.')
    last = evaluated[-1]
    metrics = {
        name: None if last[key] < 0 else last[key]
        for name, key in COCO_METRICS.items()
    }
    known = set(COCO_METRICS.values())
    prefix = COCO_METRICS['mAP'] + '_'
    strata = {
        key.removeprefix(prefix): value for key, value in last.items()
        if key.startswith(prefix) and key not in known
    }
    spans = _spans(training)
    iterations = int(training[-1]['iter'])
    seconds = _mean(training, spans, 'time')
    distils = any('levels_per_image' in r for r in training)
    updates = sum(span * r.get('updates_student', 1.0)
                  for span, r in zip(spans, training, strict=True))
    return RunResult(
        method=method,
        seed=seed,
        metrics=metrics,
        mAP_by_difficulty=strata,
        iterations=iterations,
        student_updates=round(updates),
        levels_per_image=_mean(training, spans, 'levels_per_image'),
        distill_cost=_mean(training, spans, 'distill_cost'),
        distill_gflops=_mean(training, spans, 'distill_gflops'),
        reward_gflops=_mean(training, spans, 'reward_gflops'),
        trunk_gflops=trunk_gflops if distils else None,
        seconds_per_iteration=seconds,
        train_seconds=seconds * iterations,
        selection=selection or {},
        curves=_curves(training))


def _spans(training: list[dict[str, float]]) -> list[float]:
    """How many iterations each record speaks for."""
    ends = [record['iter'] for record in training]
    return [end - begin for begin, end in zip([0, *ends], ends)]


def _mean(training: list[dict[str, float]], spans: list[float],
          key: str) -> float | None:
    pairs = [(span, record[key])
             for span, record in zip(spans, training, strict=True)
             if key in record]
    if not pairs:
        return None
    return sum(s * v for s, v in pairs) / sum(s for s, _ in pairs)


def _curves(training: list[dict[str, float]]) -> dict[str, list[list[float]]]:
    curves: dict[str, list[list[float]]] = {}
    for record in training:
        for key, value in record.items():
            if key not in ('iter', 'step', 'data_time', 'memory'):
                curves.setdefault(key, []).append([record['iter'], value])
    return curves
