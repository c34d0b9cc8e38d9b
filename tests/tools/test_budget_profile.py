"""tools/budget/profile.py: the table of a plain config, and going on."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmrlkd.dynamic.profiling import Profiler
from mmrlkd.dynamic.table import ProfileTable
from mmrlkd.files import digest
from mmrlkd.registry import MODELS

TOOL = Path(__file__).parents[2] / 'tools/budget/profile.py'


@pytest.fixture
def main(monkeypatch):
    return runpy.run_path(str(TOOL))['main']


@pytest.fixture
def student(tiny_student, tmp_path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / 'student.pth'
    torch.save(dict(state_dict=MODELS.build(tiny_student).state_dict()), path)
    return path


@pytest.fixture
def config(run_config, tiny_student, tmp_path, plain_config_text) -> Path:
    cfg = run_config(model=tiny_student, budget=dict(
        knobs=[dict(type='mmrlkd.InputScale', scales=(0.5, 1.0)),
               dict(type='mmrlkd.Proposals', keep=(10, 50))],
        quality=dict(type='mmrlkd.OneMinusLRP', score_thr=0.1)))
    path = tmp_path / 'budget.py'
    cfg.dump(path)
    return path


def test_the_table_has_all_settings_of_some_images(
        main, config, student, tmp_path):
    out = tmp_path / 'out/profile.parquet'
    args = [str(config), str(student), '--out', str(out), '--images', '3',
            '--repeats', '2', '--device', 'cpu']
    main(args)
    table = ProfileTable.read(out, 'complete')
    assert table.latency.shape == (3, 4) and (table.latency > 0).all()
    assert table.features.shape == (3, 12)  # of 4 channels
    header = table.header
    assert header.model == digest(student)
    assert header.config == str(config)
    assert header.quality == '1 - LRP' and header.repeats == 2
    assert header.machine['torch'] == torch.__version__
    assert header.machine['device'] == 'cpu'
    assert header.machine['threads'] == torch.get_num_threads()
    # More images are added to those that were measured.
    main([*args[:5], '5', *args[6:]])
    assert len(ProfileTable.read(out, 'complete')) == 5


def test_it_runs_as_a_script():
    """Its folder is on the path then, and its name is that of a module."""
    result = subprocess.run(
        [sys.executable, str(TOOL), '--help'], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'config with a budget' in result.stdout


def test_killed_in_between_it_goes_on(
        main, config, student, tmp_path, monkeypatch, capsys):
    args = [str(config), str(student), '--images', '4', '--repeats', '1',
            '--device', 'cpu', '--out']
    main([*args, str(tmp_path / 'whole.parquet')])
    measured: list[int] = []
    measure = Profiler.measure

    def killed(self: Profiler, image: int) -> Any:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(image)
        return measure(self, image)

    out = tmp_path / 'killed.parquet'
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Profiler, 'measure', killed)
        main([*args, str(out)])
    assert not out.exists()
    before = {path: path.read_text() for path in Path(f'{out}.parts').iterdir()}
    main([*args, str(out)])
    assert '2 of 4 images have been measured before' in capsys.readouterr().out
    assert all(path.read_text() == text for path, text in before.items())
    whole, table = (ProfileTable.read(tmp_path / name, 'complete')
                    for name in ('whole.parquet', 'killed.parquet'))
    assert table.images == whole.images
    assert torch.equal(table.quality, whole.quality)
    assert torch.equal(table.features, whole.features)


@pytest.mark.parametrize('options, message', [
    (['--images', '0'], '--images 0: accepted is a number >= 1'),
    (['--cfg-options', 'budget.knobs=[]'], 'names no knobs'),
    (['--cfg-options', 'budget.feature.stage=layer9'], "stage='layer9'"),
    (['--split', 'test'], 'has no test_dataloader')])
def test_wrong_input_ends_in_a_sentence(
        main, config, student, options, message, capsys):
    with pytest.raises(SystemExit) as error:
        main([str(config), str(student), *options])
    assert message in f'{error.value} {capsys.readouterr().err}'


def test_another_models_measurements_are_refused(
        main, config, student, tmp_path):
    args = [str(config), str(student), '--images', '1', '--repeats', '1',
            '--out', str(tmp_path / 'profile.parquet')]
    main(args)
    weights = torch.load(student)
    weights['state_dict']['backbone.conv1.weight'] += 1
    torch.save(weights, student)
    with pytest.raises(SystemExit, match='measurements with model='):
        main(args)
