"""The demo's driver, with trainings that only write what a training writes."""

import importlib.util
import io
import json
import os
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

ROOT = Path(__file__).parents[2]

#: Stands for tools/train.py and tools/test.py. $FAKE says what goes wrong.
FAKE = '''
import json, os, sys, time
from pathlib import Path

folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
stem = Path(sys.argv[1]).stem
name = (sys.argv[sys.argv.index('--method') + 1] if '--method' in sys.argv
        else stem.removeprefix('detection_'))
if '--resume' not in sys.argv:
    name = folder.parent.name
trains, wrong = '--resume' in sys.argv, os.environ.get('FAKE', '')
with open(os.environ['CALLS'], 'a') as calls:
    calls.write(json.dumps([name, *sys.argv[2:]]) + '\\n')
print('loading', name)
if wrong == f'{name} fails':
    print('RuntimeError: the dog ate it', file=sys.stderr)
    sys.exit(3)
if wrong == f'{name} hangs':
    time.sleep(60)
stamp = f'2026_{time.time_ns()}'
log = folder / stamp / ('vis_data/scalars.json' if trains else f'{stamp}.json')
log.parent.mkdir(parents=True)
records = []
if trains:
    records.append({'iter': 4, 'loss': 1.0, 'time': 0.1})
    if name != 'student' and 'teacher' not in name:
        cost = 7.5 if name == 'uniform' else 5.1234
        records[0] |= {'levels_per_image': 4, 'distill_cost': cost,
                       'distill_gflops': 0.4, 'reward_gflops': 0.0}
if wrong != f'{name} is killed in validation' or not trains:
    records.append({f'coco/bbox_mAP{key}': 0.4 for key in (
        '', '_50', '_75', '_s', '_m', '_l', '_1-3')})
log.write_text('\\n'.join(map(json.dumps, records)))
# The config as it is dumped: with the method's selector.
selector = {'fixed_subset': "'mmrlkd.FixedSelector', levels=['P3']",
            'worth_shuffled': "'mmrlkd.ControlSelector'"}.get(name)
(folder / f'{stem}.py').write_text(Path(sys.argv[1]).read_text().replace(
    "'mmrlkd.PolicySelector'", selector or "'mmrlkd.PolicySelector'"))
(folder / 'iter_4.pth').write_text('')
(folder / 'last_checkpoint').write_text(f'/elsewhere/iter_4.pth')
'''

CONFIG = '''
data_root = {data_root!r}
model = dict({model})
train_cfg = dict(max_iters=4)
custom_hooks = []
val_dataloader = dict(dataset=dict(
    data_root=data_root, ann_file='annotations/val.json'))
val_evaluator = dict(type='mmrlkd.DifficultyCocoMetric')
train_dataloader = dict(batch_size=8)
'''


@pytest.fixture
def demo(tmp_path: Path, tiny_scenes: Path,
         monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/demo.py with other configs and a fake training."""
    spec = importlib.util.spec_from_file_location(
        'demo', ROOT / 'tools/demo.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'demo', module)
    spec.loader.exec_module(module)

    configs = tmp_path / 'configs'
    configs.mkdir()
    distils = ("type='mmrlkd.PyramidDistiller', student=dict(type='GFL'), "
               "teacher=dict(config='t.py', checkpoint='?'), "
               "levels=('P2', 'P3'), selector=dict(type='mmrlkd.PolicySelector')")
    for name, model in (('detection_teacher', "type='GFL'"),
                        ('detection_student', "type='GFL'"),
                        ('detection', distils)):
        (configs / f'{name}.py').write_text(
            CONFIG.format(data_root=str(tiny_scenes), model=model))
    tools = tmp_path / 'tools'
    tools.mkdir()
    for name in ('train.py', 'test.py'):
        (tools / name).write_text(FAKE)
    for name, value in (
            ('CONFIGS', configs), ('TOOLS', tools),
            ('write_dataset', lambda *_: False), ('choose', lambda run: None)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr('projects.experiments.processes.LOOK', 0.02)
    monkeypatch.setattr(
        'projects.experiments.training.count_parameters', lambda _: 1)
    # These configs build nothing; tests/projects/experiments/test_training.py has
    # one that does.
    monkeypatch.setattr(
        'projects.experiments.training.check_waiting', lambda _: None)
    monkeypatch.setenv('CALLS', str(tmp_path / 'calls'))
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return module


def run(demo: ModuleType, *argv: str) -> str:
    """Run it; what it printed."""
    args = demo.parse_args(['--work-dir', 'work', *argv])
    output = io.StringIO()
    os.chdir(Path(os.environ['CALLS']).parent)
    demo.demo(args, Console(file=output, width=140))
    return output.getvalue()


def calls() -> list[list[str]]:
    file = Path(os.environ['CALLS'])
    return [json.loads(line) for line in file.read_text().splitlines()]


def called() -> list[str]:
    """What was called, sorted: trainings run side by side."""
    return sorted(call[0] for call in calls())


def test_every_method_and_seed_is_trained_and_reported(
        demo: ModuleType, tmp_path: Path) -> None:
    methods = 'student', 'uniform', 'worth'
    output = run(demo, '--seeds', '3', '5', '--methods', *methods)
    work = tmp_path / 'work'
    teacher = f'model.teacher.checkpoint={work}/teacher/iter_4.pth'
    names = [call[0] for call in calls()]
    assert Counter(names) == dict(teacher=1, student=2, uniform=2, worth=2)
    first = min(names.index('uniform'), names.index('worth'))
    assert names.index('teacher') < first
    assert all('--resume' in call for call in calls())
    for call in calls():
        assert (teacher in call) == (call[0] in ('uniform', 'worth'))
    assert [
        'worth', '--method', 'worth', '--resume', '--work-dir',
        str(work / 'worth/seed_5'), '--cfg-options', 'randomness.seed=5',
        teacher] in calls()

    table = load_table(work / 'results.csv')
    assert list(zip(table.method, table.seed)) == [
        ('teacher', 0), ('student', 3), ('student', 5), ('uniform', 3),
        ('uniform', 5), ('worth', 3), ('worth', 5)]
    assert set(table.threads) == {1} and set(table.parameters) == {1}
    about = json.loads((work / 'about.json').read_text())
    assert about['dataset']['counts']['val']['images'] == 8
    assert about['command'].startswith('python tools/demo.py --work')
    assert 'seeds 3, 5' in (work / 'report.html').read_text()
    for words in ('40.0', 'report.html', 'worth, seed 5: mAP 40.0'):
        assert words in output


def test_by_default_the_policy_stands_beside_its_control(
        demo: ModuleType, tmp_path: Path) -> None:
    run(demo)
    names = [call[0] for call in calls()]
    assert Counter(names) == Counter((
        'teacher', 'student', 'uniform', 'fixed_subset', 'random', 'worth',
        'worth_shuffled'))
    call, = (call for call in calls() if call[0] == 'fixed_subset')
    assert '--work-dir' in call and str(tmp_path / 'work/P3/seed_0') in call
    assert 'model.selector.levels=[P3]' in call
    # Random levels spend what the policy was measured to spend.
    call, = (call for call in calls() if call[0] == 'random')
    assert call[-1] == 'model.selector.cost=5.1234'
    assert names.index('worth') < names.index('random')
    table = load_table(tmp_path / 'work/results.csv')
    assert table[table.selector == 'ControlSelector'].method.tolist() == [
        'worth_shuffled']
    assert table[table.subset == 'P3'].method.tolist() == ['P3']
    page = (tmp_path / 'work/report.html').read_text()
    assert 'above worth, shuffled' in page
    assert '<p>worth, shuffled is the control: it trains exactly as' in page


@pytest.mark.parametrize('task', [
    'detection', 'segmentation', 'classification', 'instance'])
def test_every_task_has_its_methods_and_folder(
        task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location('demo', ROOT / 'tools/demo.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'demo', module)
    spec.loader.exec_module(module)
    args = module.parse_args(['--task', task])
    chosen = module.DEMOS[task]
    policy, control = (
        ('expected_reward', 'shuffled')
        if task in ('segmentation', 'classification') else
        ('worth', 'worth_shuffled'))
    assert {'student', 'uniform', 'random', policy, control} <= {*args.methods}
    assert args.work_dir == ROOT / 'work_dirs' / (
        'demo' if task == 'detection' else f'demo_{task}')
    teacher, students = module.plan(args, args.work_dir)
    assert [run.task.name for run in students] == [task] * len(students)
    found = {run.method: run.cfg.model for run in students}
    assert found[control].selector == dict(
        type='mmrlkd.ControlSelector', control='shuffled',
        selector=found[policy].selector)
    assert found[control].get('min_levels') == found[policy].get('min_levels')
    for run in students:
        if run.method == 'random':
            assert run.cost_of.method == policy
    scenes = teacher.cfg
    assert (scenes.data_root == 'data/scenes_10/') == (
        chosen.scenes.classes == 10)


def test_what_is_finished_is_kept(demo: ModuleType) -> None:
    run(demo, '--methods', 'student')
    assert called() == ['student', 'teacher']
    output = run(demo, '--methods', 'student', 'uniform')
    assert 'student, seed 0: mAP 40.0, finished before\n' in output
    assert 'uniform, seed 0: mAP 40.0\n' in output
    assert called() == ['student', 'teacher', 'uniform']


def test_a_longer_schedule_continues(demo: ModuleType, tmp_path: Path) -> None:
    run(demo, '--methods', 'student')
    config = tmp_path / 'configs/detection_student.py'
    config.write_text(config.read_text().replace('=4', '=8'))
    with pytest.raises(demo.ExperimentFailed, match='without being evaluated'):
        run(demo, '--methods', 'student')  # the fake stops at 4 again
    assert called() == ['student', 'student', 'teacher']


def test_a_run_killed_in_validation_is_evaluated(
        demo: ModuleType, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'student is killed in validation')
    run(demo, '--methods', 'student')
    folder = tmp_path / 'work/student/seed_0'
    assert ['student', str(folder / 'iter_4.pth'),
            '--work-dir', str(folder)] in calls()
    run(demo, '--methods', 'student')
    assert len(calls()) == 3


def test_a_failure_shows_the_end_of_the_log(
        demo: ModuleType, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'uniform fails')
    with pytest.raises(SystemExit) as stop:
        demo.main(['--work-dir', str(tmp_path / 'work')])
    message = str(stop.value)  # sys.exit(text) is exit status 1
    assert 'RuntimeError: the dog ate it' in message
    assert 'uniform, seed 0 failed with exit status 3' in message
    assert str(tmp_path / 'work/uniform/seed_0/train.log') in message
    assert not (tmp_path / 'work/results.csv').exists()

    monkeypatch.delenv('FAKE')
    run(demo)
    done = Counter(call[0] for call in calls())
    assert done['teacher'] == done['student'] == 1
    assert done['uniform'] == 2
    assert done['worth'] in (1, 2)  # it may have been ended with the other


def test_a_training_ends_with_the_demo(
        demo: ModuleType, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FAKE', 'teacher hangs')
    started = []
    popen = subprocess.Popen

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, 'Popen', start)
    monkeypatch.setattr(time, 'sleep', interrupt)
    with pytest.raises(SystemExit, match='The same command continues'):
        demo.main(['--work-dir', str(tmp_path / 'work')])
    assert started[0].poll() is not None


def test_a_folder_in_use_is_refused(demo: ModuleType, tmp_path: Path) -> None:
    with demo.locked(tmp_path / 'work'), pytest.raises(
            demo.ExperimentFailed, match='in use by another demo'):
        run(demo)
    run(demo, '--methods', 'student')


def test_scenes_that_cannot_be_made_end_the_demo(demo: ModuleType,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_) -> None:
        raise FileExistsError('data/scenes holds something else')

    monkeypatch.setattr(demo, 'write_dataset', refuse)
    with pytest.raises(demo.ExperimentFailed, match='holds something else'):
        run(demo)


@pytest.mark.parametrize('name', ['teacher', 'lottery', 'P2+P9'])
def test_unknown_methods_are_refused(
        demo: ModuleType, capsys: pytest.CaptureFixture, name: str) -> None:
    with pytest.raises(SystemExit):
        demo.parse_args(['--methods', name])
    assert f'--methods {name}: accepted are student, ' in (
        capsys.readouterr().err)


def test_a_terminal_shows_progress_bars(demo: ModuleType, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True,
                      highlight=False)
    one = demo.Run('student', 0, tmp_path, tmp_path / 'configs/detection_student.py')
    with demo.Reporter(console) as reporter:
        reporter.begin(one)
        reporter.update(one, {'iter': 2, 'loss': 1.5, 'time': 30.0})
        reporter._progress.refresh()
        reporter.end(one, 'mAP 40.0')
    assert '1.500, 1:00 left' in output.getvalue()
    assert 'mAP 40.0' in output.getvalue()
