"""Steps of the budget's demo that are finished, and its tables."""

import io
import json

import pytest
from rich.console import Console

from projects.experiments.budget import DROPPED, TASKS, Files, Step, Steps, students
from projects.experiments.budget_report import comparison_frame, end_to_end_frame
from projects.experiments.processes import Session, locked
from projects.experiments.progress import Reporter
from projects.experiments.runs import ExperimentFailed

#: Writes what it read and was told, and a dot for each run.
SCRIPT = '''
import sys
from pathlib import Path
source, out = map(Path, sys.argv[1:3])
out.write_text(source.read_text() + ' '.join(sys.argv[3:]))
with out.with_name('runs').open('a') as file:
    file.write('.')
sys.exit(source.read_text() == 'bad')
'''


@pytest.fixture
def steps(tmp_path):
    (tmp_path / 'tool.py').write_text(SCRIPT)
    with locked(tmp_path) as lock:
        yield Steps(Session(tmp_path, lock, Reporter(Console(file=io.StringIO()))))


def test_a_step_runs_again_if_its_words_or_what_it_reads_change(steps, tmp_path):
    source, out = tmp_path / 'source', tmp_path / 'out.txt'

    def runs(*words):
        steps.run(Step('step', ('tool.py', str(source), str(out), *words), out),
                  source)
        return len((tmp_path / 'runs').read_text())

    source.write_text('a')
    assert [runs(), runs(), runs('b'), runs('b')] == [1, 1, 2, 2]
    assert out.read_text() == 'ab'
    source.write_text('c')
    assert runs('b') == 3 and out.read_text() == 'cb'
    source.write_text('bad')  # writes, and then fails
    for _ in range(2):
        with pytest.raises(ExperimentFailed, match='step failed with exit status 1'):
            runs('b')
    source.write_text('c')
    assert [runs('b'), runs('b')] == [6, 6]  # what was written is not of these


def test_both_students_of_a_task_have_configs():
    from tools.demo import CONFIGS
    for task in TASKS:
        runs = students(task, CONFIGS, CONFIGS)
        assert all(run.config.is_file() for run in runs.values())
        cfg = runs[DROPPED].cfg
        assert any(hook.type == 'mmrlkd.DropBlocksHook' for hook in cfg.custom_hooks)
        assert cfg.test_dataloader.dataset.data_root != cfg.data_root


def test_the_tables_say_what_the_files_say(tmp_path, monkeypatch):
    def outcome(quality):
        return dict(metrics={'mAP': quality / 2}, quality=quality, within=1.0,
                    latency_ms=dict(mean=5, p50=5, p95=6, p99=7))

    tests = {}
    for kind, seed, quality in (('int8', 0, 0.5), ('int8', 1, 0.7), ('float', 0, 0.6)):
        path = tests[kind, seed] = tmp_path / f'{kind}_{seed}.onnx.test.json'
        path.write_text(json.dumps(dict(budgets=[dict(
            outcome(quality), looked=1.0, budget_ms=10.0, overhead=0.04,
            overhead_ms=0.2, overhead_total=0.05,
            static=outcome(0.4))])))
    agreement = type('Fake', (), dict(same_setting=0.99))
    monkeypatch.setattr(
        'projects.experiments.budget_report.OnnxController',
        lambda path: type('Fake', (), dict(agreement=agreement)))
    frame = end_to_end_frame(Files(tmp_path, tmp_path, tmp_path, tests))
    assert list(frame.index) == ['10 ms, int8', '10 ms, float', '10 ms, static']
    # t of one degree of freedom times 0.1: 12.706 · 0.1.
    assert frame.loc['10 ms, int8', 'quality'] == '0.600 ± 1.271'
    assert frame.loc['10 ms, float', 'mAP'] == '0.300'
    assert frame.loc['10 ms, static', 'quality'] == '0.400 ± 0.000'
    assert frame.loc['10 ms, static', 'overhead'] == ''
    assert frame.columns.name == 'int8 agrees on 99.0% or more'


def test_the_comparison_is_a_line_for_each_budget():
    mean = dict(mean=0.5, half_width=0.01)
    methods = {name: dict(quality=mean, within=dict(mean=0.98),
                          looked=dict(mean=0.6)) for name in (
        'GRPO', 'static', 'static, bounded', 'static mix', 'random', 'oracle')}
    frame = comparison_frame(dict(algorithm='GRPO', budgets=[dict(
        budget_ms=12.0, methods=methods, above={
            name: dict(mean=-0.02, half_width=0.03)
            for name in ('static', 'static, bounded', 'static mix', 'oracle')})]))
    assert frame.loc['12 ms', 'GRPO'] == '0.500 ± 0.010'
    assert frame.loc['12 ms', 'within, GRPO'] == '0.980'
    assert frame.loc['12 ms', 'looked, GRPO'] == '0.600'
    assert frame.loc['12 ms', 'GRPO − static'] == '-0.020 ± 0.030'


def test_the_command_line_of_a_budget(capsys):
    from tools.demo import parse_args
    args = parse_args(['--task', 'budget'])
    assert args.seeds == [0, 1, 2, 3, 4] and args.work_dir.name == 'demo_budget'
    assert parse_args(['--task', 'budget', '--seeds', '3', '3']).seeds == [3]
    with pytest.raises(SystemExit):
        parse_args(['--task', 'budget', '--methods', 'ppo'])
    assert '--methods and --figure-dir: a budget has none' in capsys.readouterr().err
