from pathlib import Path

import pytest

from projects.experiments.runs import ExperimentFailed, Run, end_of, parse_options


def make(folder: Path, text: str, *options: str) -> Run:
    config = folder / 'mine.py'
    config.write_text(text)
    return Run('mine', 1, folder, config, options)


def test_options_are_in_the_config(tmp_path: Path) -> None:
    run = make(tmp_path, 'train_cfg = dict(max_iters=4)\nmodel = dict(a=1)',
               'train_cfg.max_iters=2', 'model.b=(P2,P3)')
    assert run.cfg.model == dict(a=1, b=('P2', 'P3'))
    assert (run.name, run.iterations) == ('mine, seed 1', 2)
    assert parse_options([]) == {}


def test_a_moved_run_is_finished(tmp_path: Path, write_history, record,
                                 config_text) -> None:
    run = make(tmp_path, config_text(None))
    assert run.checkpoint is None and not run.finished
    write_history(tmp_path, 'mine', config_text(None), .4, record(4))
    assert not run.trained  # the pointer's file is not there
    (tmp_path / 'iter_4.pth').touch()
    assert run.checkpoint == tmp_path / 'iter_4.pth'
    assert run.finished
    assert not make(tmp_path, config_text(None, iterations=8)).trained


def test_epochs_end_runs_too(tmp_path: Path) -> None:
    run = make(tmp_path, 'model = {}\ntrain_cfg = dict(max_epochs=12)')
    assert end_of(run.cfg) == 'epoch_12'
    assert run.iterations is None
    with pytest.raises(ExperimentFailed, match='max_iters or max_epochs'):
        end_of(make(tmp_path, 'model = {}\ntrain_cfg = {}').cfg)


@pytest.mark.parametrize(('text', 'words'), [
    ('model = dict(', 'cannot be read'),
    ("_base_ = 'gone.py'", 'cannot be read'),
    ('modle = {}', 'defines no model')])
def test_bad_configs_are_told(tmp_path: Path, text: str, words: str) -> None:
    run = make(tmp_path, text)
    with pytest.raises(ExperimentFailed, match=f'mine.py {words}'):
        assert run.distils
