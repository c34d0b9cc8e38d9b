import json
from pathlib import Path

import pytest

from projects.experiments.logs import (
    mean_of,
    newest_record,
    read_evaluation,
    read_training,
)

KEY = 'coco/bbox_mAP'


def train_record(iteration: int, **values: float) -> dict:
    return dict(loss=1.0, time=0.5, iter=iteration, step=iteration, **values)


def write(run: Path, folder: str, *records: dict, cut: str = '') -> None:
    file = run / folder / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(r) + '\n' for r in records) + cut)


def test_what_a_resumed_run_logged_again_counts_once(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10, levels=9.),
          train_record(20, levels=9.), cut='{"loss": 0.1, "it')
    write(tmp_path, '2', train_record(10, levels=4.), train_record(20, levels=2.))
    write(tmp_path, '3', train_record(40, levels=1.), {KEY: 0.4})
    training = read_training(tmp_path)
    assert training.levels.to_dict() == {10: 4, 20: 2, 40: 1}
    assert mean_of(training, 40, 'levels') == (10 * 4 + 10 * 2 + 20 * 1) / 40
    assert read_evaluation(tmp_path, KEY) == {KEY: 0.4}
    assert newest_record(tmp_path)['iter'] == 40


def test_the_last_record_speaks_for_iterations_after_it(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10, cost=3.), train_record(20, cost=1.))
    assert mean_of(read_training(tmp_path), 24, 'cost') == (10 * 3 + 14) / 24


def test_an_evaluation_counts_only_after_the_last_iteration(
        tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10), {KEY: 0.4}, train_record(20))
    assert read_evaluation(tmp_path, KEY) is None


def test_a_test_of_the_finished_run_is_an_evaluation(tmp_path: Path) -> None:
    write(tmp_path, '1', train_record(10))
    (tmp_path / '2').mkdir()
    (tmp_path / '2' / '2.json').write_text(json.dumps({KEY: 0.4}))
    assert read_evaluation(tmp_path, KEY) == {KEY: 0.4}


def test_an_empty_folder_has_no_records(tmp_path: Path) -> None:
    assert newest_record(tmp_path) is None
    assert read_training(tmp_path).empty
    assert mean_of(read_training(tmp_path), 4, 'x') != pytest.approx(0)
