import json
from pathlib import Path

import pytest

from mmrlkd.evaluation.results import (
    Example,
    Results,
    loads,
    newest_record,
    read_log,
    read_run,
)
from mmrlkd.evaluation.tasks import TASKS

EVALUATION = {
    'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.6, 'coco/bbox_mAP_75': 0.45,
    'coco/bbox_mAP_s': 0.41, 'coco/bbox_mAP_m': 0.39, 'coco/bbox_mAP_l': -1.0,
    'coco/bbox_mAP_1-3': 0.5, 'coco/bbox_mAP_>10': 0.3, 'time': 0.1, 'step': 0
}


def train_record(iteration: int, **values: float) -> dict:
    return dict(loss=1.0, time=0.5, iter=iteration, step=iteration, **values)


def write(run: Path, folder: str, *records: dict, cut: str = '') -> None:
    file = run / folder / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(r) + '\n' for r in records) + cut)


def test_a_run_resumed_twice(tmp_path: Path) -> None:
    """What was logged again counts once, and as it was logged last."""
    write(tmp_path, '1', train_record(10, levels_per_image=9.),
          train_record(20, levels_per_image=9.), cut='{"loss": 0.1, "it')
    write(tmp_path, '2', train_record(10, levels_per_image=4.),
          train_record(20, levels_per_image=2.))
    write(tmp_path, '3',
          train_record(40, levels_per_image=1., updates_student=0.2),
          EVALUATION)
    run = read_run(tmp_path, 'ppo', 3)
    assert (run.method, run.seed, run.iterations) == ('ppo', 3, 40)
    assert run.levels_per_image == (10 * 4 + 10 * 2 + 20 * 1) / 40
    assert run.student_updates == 10 + 10 + 20 * 0.2
    assert run.seconds_per_iteration == 0.5
    assert run.train_seconds == 20
    assert run.metrics == {'mAP': 0.4, 'AP50': 0.6, 'AP75': 0.45, 'APs': 0.41,
                           'APm': 0.39, 'APl': None}
    assert run.by_difficulty == {'1-3': 0.5, '>10': 0.3}
    assert run.task == 'detection'
    assert run.curves['levels_per_image'] == [[10, 4], [20, 2], [40, 1]]
    assert 'step' not in run.curves


@pytest.mark.parametrize(('record', 'task', 'quality', 'shown', 'strata'), [
    ({'mIoU': 60.0, 'aAcc': 90.0, 'mAcc': 70.0, 'mIoU_1-3': 65.0},
     'segmentation', 0.6, {'pixel accuracy': 0.9}, {'1-3': 0.65}),
    ({'accuracy/top1': 55.0, 'accuracy/top5': 95.0},
     'classification', 0.55, {'top-5': 0.95}, {}),
    ({**EVALUATION, 'coco/segm_mAP': 0.3, 'coco/segm_mAP_50': 0.5,
      'coco/segm_mAP_s': -1.0, 'coco/segm_mAP_1-3': 0.35},
     'instance', 0.3,
     {'mask AP50': 0.5, 'mask APs': None, 'box mAP': 0.4, 'box AP75': 0.45},
     {'1-3': 0.35})])
def test_every_task_has_its_metrics(
        tmp_path: Path, record: dict, task: str, quality: float, shown: dict,
        strata: dict) -> None:
    write(tmp_path, '1', train_record(10), record)
    run = read_run(tmp_path, 'student', 0)
    assert (run.task, run.quality) == (task, quality)
    assert run.metrics | shown == run.metrics
    assert set(run.metrics) == {m.name for m in TASKS[task].metrics}
    assert run.by_difficulty == strata
    results = Results({}, [run])
    assert loads(results.dumps()) == results
    assert results.task is TASKS[task]


def test_logits_are_no_level(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10, logit_gflops=0.5),
          {'accuracy/top1': 55.0})
    run = read_run(tmp_path, 'kd', 0)
    assert run.logit_gflops == 0.5
    assert not run.distils


def test_results_of_before_there_were_tasks(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10), EVALUATION)
    results = Results({}, [read_run(tmp_path, 'student', 0)])
    old = json.loads(results.dumps())
    run, = old['runs']
    run['mAP_by_difficulty'] = run.pop('by_difficulty')
    del run['task'], run['logit_gflops']
    assert loads(json.dumps(old)) == results


def test_a_run_that_distils_nothing(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10), EVALUATION)
    run = read_run(tmp_path, 'student', 0)
    assert not run.distils
    assert run.distill_cost is run.distill_gflops is run.reward_gflops is None
    assert run.student_updates == 10


def test_an_evaluation_counts_only_after_the_last_iteration(
        tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10), EVALUATION, train_record(20))
    assert read_log(tmp_path).evaluation is None
    with pytest.raises(ValueError, match='no finished run'):
        read_run(tmp_path, 'student', 0)


def test_a_test_is_an_evaluation(tmp_path: Path) -> None:
    """Of a run killed while it validated, tools/test.py tells the metrics."""
    write(tmp_path, '1', train_record(10))
    (tmp_path / '2').mkdir()
    (tmp_path / '2' / '2.json').write_text(json.dumps(EVALUATION))
    assert read_run(tmp_path, 'student', 0).metrics['mAP'] == 0.4


def test_iterations_after_the_last_record_are_counted(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10, distill_cost=3.),
          train_record(20, distill_cost=1., updates_student=0.5), EVALUATION)
    run = read_run(tmp_path, 'ppo', 0, iterations=24)
    assert run.iterations == 24
    assert run.student_updates == 10 + 14 * 0.5
    assert run.distill_cost == (10 * 3 + 14 * 1) / 24
    assert run.train_seconds == 12


def test_an_empty_folder(tmp_path: Path) -> None:
    assert newest_record(tmp_path) is None
    with pytest.raises(ValueError, match='no finished run'):
        read_run(tmp_path, 'student', 0)


def test_newest_record_of_a_resumed_run(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10), train_record(20))
    write(tmp_path, '2', train_record(10))
    assert newest_record(tmp_path)['iter'] == 10


def test_results_survive_their_file(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10, loss_cls=float('nan')), EVALUATION)
    results = Results(
        {'command': 'demo'}, [read_run(tmp_path, 'student', 0)],
        [Example('a.png', '1-3', [[1., 2., 3., 4.]], {'ppo': ['P2']})])
    assert loads(results.dumps()) == results
    assert 'NaN' not in results.dumps()


@pytest.mark.parametrize('text', ['', '[]', '{"runs": []}', '{"header": {}, '
                                  '"runs": [{"methods": 1}], "examples": []}'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match='these are no results'):
        loads(text)
