"""The comparison's driver, with trainings that only write what they leave."""

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from projects.experiments.results import load_table
from projects.experiments.runs import ExperimentFailed

ROOT = Path(__file__).parents[2]

#: Begins the scripts that stand for those of tools. $FAKE says what goes
#: wrong.
BEGIN = '''
import json, os, sys, time
from pathlib import Path

def read(path):
    values = {}
    exec(Path(path).read_text(), values)
    for base in values.pop('_base_', []):
        found = read(Path(path).parent / base)
        for key, value in values.get('model', {}).items():
            found['model'][key] = value
        values = found
    return {k: v for k, v in values.items() if not k.startswith('_')}

config, wrong = Path(sys.argv[1]), os.environ.get('FAKE', '')
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
with open(os.environ['CALLS'], 'a') as calls:
    calls.write(json.dumps([Path(sys.argv[0]).stem, config.stem,
                            *sys.argv[2:]]) + '\\n')
if wrong == f'{config.stem} fails':
    print('RuntimeError: the dog ate it', file=sys.stderr)
    sys.exit(3)
if wrong == f'{config.stem} hangs':
    time.sleep(60)
values = read(config)
'''
TRAIN = '''
selector = values['model'].get('selector')
record = {'iter': 4, 'loss': 1.0, 'time': 0.1}
if wrong == f'{config.stem} logs nothing':
    record = {}
mean_ap = 0.3
if selector:
    names = selector.get('levels', ('P2', 'P3'))
    cost = sum(dict(P2=4, P3=2)[name] for name in names)
    record |= {'levels_per_image': len(names), 'distill_cost': cost,
               'distill_gflops': cost / 10, 'reward_gflops': 0.0}
    mean_ap += cost / 100
log = folder / str(time.time_ns()) / 'vis_data/scalars.json'
log.parent.mkdir(parents=True)
log.write_text('\\n'.join(map(json.dumps, [record, {
    f'coco/bbox_mAP{key}': mean_ap
    for key in ('', '_50', '_75', '_s', '_m', '_l', '_1-3')}])))
selector and selector.pop('_delete_', None)
(folder / config.name).write_text(
    '\\n'.join(f'{key} = {value!r}' for key, value in values.items()))
(folder / 'iter_4.pth').write_text('')
(folder / 'last_checkpoint').write_text('/elsewhere/iter_4.pth')
'''
#: Two candidates; what is there is continued.
SEARCH = '''
history = folder / 'search/history.jsonl'
if not history.exists():
    history.parent.mkdir(parents=True)
    history.write_text('{"efficiency": 0}\\n')
while len(history.read_text().splitlines()) < 3:
    with history.open('a') as file:
        file.write(json.dumps(dict(score=.3, images=40, seconds=2.0,
                                   error=None, repeated=False)) + '\\n')
    if wrong == f'{config.stem} is killed':
        os.kill(os.getpid(), 9)
del values['search']
values['model']['selector'] = dict(
    type='mmrlkd.FixedSelector', levels=('P3', ))
(folder / 'found.py').write_text(
    '\\n'.join(f'{key} = {value!r}' for key, value in values.items()))
'''

COMMON = '''
train_cfg = dict(max_iters=4)
train_dataloader = dict(batch_size=8)
custom_hooks = []
val_evaluator = dict(type='CocoMetric', metric='bbox')
'''


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/compare.py with fake scripts, and configs for it."""
    spec = importlib.util.spec_from_file_location(
        'compare', ROOT / 'tools/compare.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'compare', module)
    spec.loader.exec_module(module)

    tools = tmp_path / 'tools'
    tools.mkdir()
    (tools / 'train.py').write_text(BEGIN + TRAIN)
    (tools / 'search.py').write_text(BEGIN + SEARCH)
    for name, selector, more in (
            ('big', None, ''), ('student', None, ''),
            ('uniform', 'UniformSelector', ''),
            ('random', 'RandomSelector', ''),
            ('evolution', 'UniformSelector',
             'search = dict(strategy=dict(type="x"), evaluator=dict(iterations=2))')):
        model = dict(type='GFL') if selector is None else dict(
            type='mmrlkd.PyramidDistiller', student=dict(type='GFL'),
            levels=('P2', 'P3'),
            selector=dict(type=f'mmrlkd.{selector}'),
            teacher=dict(config=str(tmp_path / 'big.py'),
                         checkpoint=str(tmp_path / 'far/iter_4.pth')))
        (tmp_path / f'{name}.py').write_text(
            f'model = {model!r}{COMMON}{more}')
    monkeypatch.setattr(module, 'TOOLS', tools)
    monkeypatch.setattr('projects.experiments.processes.LOOK', 0.02)
    monkeypatch.setattr(
        'projects.experiments.training.count_parameters', lambda _: 1)
    # These configs build nothing; tests/projects/experiments/test_training.py has
    # one that does.
    monkeypatch.setattr(
        'projects.experiments.training.check_waiting', lambda _: None)
    monkeypatch.setenv('CALLS', str(tmp_path / 'calls'))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return module


def run(compare: ModuleType, *argv: str) -> str:
    """Run it on configs by name; what it printed."""
    os.chdir(Path(os.environ['CALLS']).parent)
    args = compare.parse_args([
        word if word.startswith('-') or not Path(f'{word}.py').is_file()
        else f'{word}.py' for word in argv] + (
            [] if '--work-dir' in argv else ['--work-dir', 'work']))
    output = io.StringIO()
    compare.compare(args, Console(file=output, width=160))
    return output.getvalue()


def calls() -> list[list[str]]:
    file = Path(os.environ['CALLS'])
    return [json.loads(line) for line in file.read_text().splitlines()]


def trained() -> Counter:
    return Counter(call[1] for call in calls() if call[0] == 'train')


def test_every_config_and_seed_is_trained_and_reported(
        compare: ModuleType, tmp_path: Path) -> None:
    output = run(compare, 'student', 'uniform', 'random', 'evolution',
                 '--seeds', '3', '5', '--cfg-options', 'log_level=DEBUG', 'search.b=2')
    work = tmp_path / 'work'
    assert trained() == dict(
        big=1, student=2, uniform=2, random=2, P2=2, P3=2, found=2)
    teacher = f'model.teacher.checkpoint={work}/teacher/iter_4.pth'
    names = [call[1] for call in calls()]
    assert names.index('big') < min(map(names.index, (
        'uniform', 'random', 'evolution', 'P2')))
    for call in calls():
        assert 'log_level=DEBUG' in call
        assert ('search.b=2' in call) == (call[1] == 'evolution')
        assert (teacher in call) == (call[1] not in ('big', 'student'))
    folder = work / 'evolution/seed_5'
    assert ['search', 'evolution', '--work-dir', str(folder), '--cfg-options',
            'randomness.seed=5', 'search.seed=5', 'search.evaluator.seed=5',
            'log_level=DEBUG', 'search.b=2', teacher] in calls()
    assert ['train', 'found', '--resume', '--work-dir', str(folder / 'train'),
            '--cfg-options', 'randomness.seed=5', 'log_level=DEBUG', teacher] in calls()

    table = load_table(work / 'results.csv')
    assert list(dict.fromkeys(table.method)) == [
        'teacher', 'evolution', 'random', 'student', 'uniform', 'P3', 'P2']
    assert set(table[table.method == 'evolution'].search_images) == {80}
    assert (work / 'figure.png').is_file() and (work / 'figure.svg').is_file()
    page = (work / 'table.md').read_text()
    assert '| seeds 3, 5 |' in page and '| student alone | 30.0 |' in page
    for words in ('evolution, seed 5, search: 2 candidates',
                  'uniform, seed 3: mAP 36.0'):
        assert words in output


def test_an_evaluator_that_names_no_number_is_refused_before_training(
        compare: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / 'student.py'
    config.write_text(config.read_text().replace('CocoMetric', 'Speed'))
    with pytest.raises(ExperimentFailed, match='which number decides'):
        run(compare, 'student', '--no-front')
    assert not Path(os.environ['CALLS']).exists()


def test_what_is_finished_is_kept(compare: ModuleType) -> None:
    run(compare, 'uniform', '--no-front')
    assert trained() == dict(big=1, uniform=1)
    output = run(compare, 'uniform', 'evolution')
    assert 'uniform, seed 0: mAP 36.0, finished before\n' in output
    assert trained() == dict(big=1, uniform=1, P2=1, P3=1, found=1)
    run(compare, 'uniform', 'evolution')
    assert len(calls()) == 6


def test_the_report_needs_the_histories_alone(
        compare: ModuleType, tmp_path: Path) -> None:
    printed = run(compare, 'student', 'uniform', 'random', 'evolution')
    work, copy = tmp_path / 'work', tmp_path / 'copy'
    shutil.copytree(work, copy, ignore=shutil.ignore_patterns(
        '*.pth', '*.log', 'results.csv', 'table.md', 'figure.*'))
    hidden = tmp_path / 'hidden'
    hidden.mkdir()
    for path in (*tmp_path.glob('*.py'), work):
        path.rename(hidden / path.name)
    again = run(compare, '--report-only', '--work-dir', 'copy')
    for name in ('results.csv', 'table.md', 'figure.png', 'figure.svg'):
        assert (copy / name).read_bytes() == (
            hidden / 'work' / name).read_bytes(), name
    table = printed[printed.index('┏'):].rpartition('The table is')[0]
    assert again.rpartition('The table is')[0].endswith(table)
    assert len(calls()) == 8  # the copy trained nothing


def test_an_existing_checkpoint_is_the_teacher(
        compare: ModuleType, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, 'tools/train.py', 'big.py', '--work-dir', 'far'],
        check=True)
    run(compare, 'uniform', '--no-front')
    assert trained() == dict(big=1, uniform=1)
    assert f'model.teacher.checkpoint={tmp_path}/far/iter_4.pth' in calls()[-1]
    shutil.rmtree(tmp_path / 'far')  # its history lies in the work dir
    found = run(compare, '--report-only')
    assert 'teacher' in found


def test_a_killed_search_continues(
        compare: ModuleType, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'evolution is killed')
    with pytest.raises(ExperimentFailed, match='evolution, seed 0, search'):
        run(compare, 'evolution', '--no-front')
    assert 'found' not in trained()
    history = tmp_path / 'work/evolution/seed_0/search/history.jsonl'
    assert len(history.read_text().splitlines()) == 2
    monkeypatch.delenv('FAKE')
    run(compare, 'evolution', '--no-front')
    assert len(history.read_text().splitlines()) == 3
    assert trained() == dict(big=1, found=1)


def test_a_failure_shows_the_end_of_the_log(
        compare: ModuleType, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'found fails')
    with pytest.raises(SystemExit) as stop:
        compare.main(['evolution.py', '--no-front', '--work-dir', 'work'])
    message = str(stop.value)
    assert 'RuntimeError: the dog ate it' in message
    assert str(tmp_path / 'work/evolution/seed_0/train/train.log') in message
    monkeypatch.delenv('FAKE')
    run(compare, 'evolution', '--no-front')
    assert [call[0] for call in calls()].count('search') == 1


def test_a_run_must_log_something(
        compare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'uniform logs nothing')
    with pytest.raises(ExperimentFailed, match='logger.interval no longer'):
        run(compare, 'uniform', '--no-front')


def test_a_search_ends_with_the_comparison(
        compare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'evolution hangs')
    started, popen, sleep = [], subprocess.Popen, time.sleep

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    def interrupt(seconds: float) -> None:
        if len(started) > 1:
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(subprocess, 'Popen', start)
    monkeypatch.setattr(time, 'sleep', interrupt)
    with pytest.raises(SystemExit, match='The same command continues'):
        compare.main(['evolution.py', '--no-front', '--work-dir', 'work'])
    assert started[1].poll() is not None


@pytest.mark.parametrize(('argv', 'words'), [
    ([], 'none is named'),
    (['gone.py'], 'gone.py is not a file'),
    (['uniform.py', '--jobs', '0'], '--jobs 0: accepted'),
    (['uniform.py', '--figure', 'a.pdf'], 'ends in .png'),
    (['uniform.py', '--cfg-options', 'a'], 'accepted is KEY=VALUE'),
])
def test_bad_options_are_refused(
        compare: ModuleType, capsys: pytest.CaptureFixture, argv: list[str],
        words: str) -> None:
    with pytest.raises(SystemExit):
        compare.parse_args(argv)
    assert words in capsys.readouterr().err


def test_what_cannot_be_done_is_said_before_anything_is_trained(
        compare: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ExperimentFailed, match='or --no-front'):
        run(compare, 'student')
    with pytest.raises(ExperimentFailed, match='holds no finished run'):
        run(compare, '--report-only')
    (tmp_path / 'broken.py').write_text('model = dict(')
    with pytest.raises(ExperimentFailed, match='cannot be read'):
        run(compare, 'broken')
    assert not Path(os.environ['CALLS']).exists()
