"""Two processes with half the batch each are one with all of it."""

import copy
import importlib.util
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate

from mmrlkd.registry import DATASETS, MODELS

SCRIPT = Path(__file__).with_name('ranks.py')


@pytest.fixture(scope='module')
def ranks():
    spec = importlib.util.spec_from_file_location('ranks', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """Run a function of the script on two ranks, which wait for the next one;
    what each returned."""
    folder = tmp_path_factory.mktemp('ranks')
    log = folder / 'log'
    with log.open('w') as file:
        served = subprocess.Popen(
            [sys.executable, '-m', 'torch.distributed.run', '--standalone',
             '--nproc_per_node', '2', str(SCRIPT), str(folder)],
            stdout=file, stderr=subprocess.STDOUT)
    numbers = count()

    def run(function, *arguments):
        number = next(numbers)
        ask(folder, number, (function, arguments))
        answers = [folder / f'{number}_of_{rank}.pth' for rank in range(2)]
        until = time.monotonic() + 240
        while not all(answer.is_file() for answer in answers):
            assert served.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.05)
        return [torch.load(answer) for answer in answers]

    yield run
    ask(folder, next(numbers), None)
    assert served.wait(timeout=60) == 0, log.read_text()[-3000:]


def ask(folder, number, task):
    """What both ranks do next; None ends them."""
    torch.save(task, folder / 'task')
    (folder / 'task').rename(folder / f'{number}.pth')


@pytest.fixture
def distiller_config(even_student, tiny_teacher):
    return dict(
        type='mmrlkd.PyramidDistiller', student=even_student,
        teacher=tiny_teacher, levels=('P2', 'P3', 'P4', 'P5'),
        selector=dict(type='mmrlkd.UniformSelector'))


@pytest.mark.parametrize('selector', [
    dict(type='mmrlkd.UniformSelector'),
    dict(type='mmrlkd.FixedSelector', levels=['P3']),
], ids=['all levels', 'one level'])
def test_training_equals_one_process(
        ranks, two_processes, distiller_config, detection_batch, selector):
    distiller_config['selector'] = selector
    model = MODELS.build(copy.deepcopy(distiller_config))
    model.init_weights()
    before = ranks.weights_of(model)
    two, other = two_processes(
        'train_half', distiller_config, before, detection_batch)
    one = ranks.train(model, model, detection_batch)

    assert one['student'].keys() == two['student'].keys()
    for part in ('student', 'links'):
        for key, value in one[part].items():
            torch.testing.assert_close(
                two[part][key], value, rtol=1e-5, atol=1e-5)
            assert torch.equal(two[part][key], other[part][key]), key
    torch.testing.assert_close(two['mean'], one['mean'], rtol=1e-5, atol=1e-5)
    moved = sum(not torch.equal(value, before['student'][key])
                for key, value in one['student'].items())
    assert moved > 50


def test_a_policy_stays_equal_on_both_ranks(
        ranks, two_processes, distiller_config, detection_batch):
    distiller_config['selector'] = dict(
        type='mmrlkd.PolicySelector', rollout_batches=2,
        policy=dict(type='mmrlkd.LSTMPolicy', hidden=8),
        learner=dict(type='mmrlkd.PPO', epochs=1, minibatches=2))
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(distiller_config))
    model.init_weights()
    before = ranks.weights_of(model)
    one, other = two_processes(
        'train_policy_half', distiller_config, before, detection_batch)
    assert one['chosen'] != other['chosen']
    assert one['updates'] == other['updates'] == 3
    for part in ('student', 'links', 'policy'):
        for key, value in one[part].items():
            if 'running' not in key and 'num_batches' not in key:
                assert torch.equal(value, other[part][key]), key
    assert torch.equal(one['mean'], other['mean'])
    assert any(not torch.equal(value, before['student'][key])
               for key, value in one['student'].items())


@pytest.mark.parametrize('selector', [
    dict(type='mmrlkd.DARTSSelector', lr=0.01, order=2),
    dict(type='mmrlkd.GDASSelector', lr=0.01),
], ids=['darts', 'gdas'])
def test_a_search_on_two_ranks_is_one(
        ranks, two_processes, distiller_config, scenes_dataset,
        detection_batch, selector):
    dataset = DATASETS.build(scenes_dataset('train'))
    held_out = pseudo_collate([dataset[i] for i in range(8, 12)])
    distiller_config['selector'] = selector
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(distiller_config))
    model.student.init_weights()
    before = ranks.weights_of(model)
    two, other = two_processes(
        'search_half', distiller_config, before, detection_batch, held_out)
    assert two['chosen'] == other['chosen']
    assert two['images'] == other['images']
    assert two['alpha'].abs().sum() > 0
    for key in ('alpha', 'scales'):
        assert torch.equal(two[key], other[key]), key
    for key, value in two['student'].items():
        assert torch.equal(value, other['student'][key]), key

    if 'order' in selector:  # nothing is drawn: one process does the same
        one = ranks.search(model, model, detection_batch, held_out)
        assert two['images'] == one['images']
        torch.testing.assert_close(
            two['scales'], one['scales'], rtol=0.01, atol=0)
        torch.testing.assert_close(
            two['alpha'], one['alpha'], rtol=0.05, atol=1e-4)


def test_balancing_on_two_ranks(
        ranks, two_processes, distiller_config, detection_batch):
    def case(settings=None, poisoned=False, **overrides):
        cfg = copy.deepcopy({**distiller_config, **overrides})
        model = MODELS.build(copy.deepcopy(cfg))
        model.student.init_weights()
        return cfg, ranks.weights_of(model), settings, poisoned

    cases = [
        case(balancer=dict(type='mmrlkd.GradNorm', lr=0.1, report_every=2)),
        case(balancer=dict(type='mmrlkd.EMABalancer', include_task=True)),
        # What each rank draws, and the levels of its images, differ.
        case(dict(accumulative_counts=3, clip_grad=dict(max_norm=1.0)),
             selector=dict(type='mmrlkd.RandomSelector', cost=2.0),
             balancer=dict(type='mmrlkd.PCGrad', exact=True, report_every=1)),
        case(balancer=dict(type='mmrlkd.EMABalancer'), poisoned=True),
    ]
    ours, theirs = two_processes('balance_halves', cases, detection_batch)
    for mine, other in zip(ours, theirs):  # the ranks stay equal
        for one, two in zip(mine['logs'], other['logs']):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[key], two[key]) for key in one)
        for part in ('student', 'links', 'balancer'):
            for key, value in mine[part].items():
                if 'running' not in key and 'num_batches' not in key:
                    assert torch.equal(value, other[part][key]), key

    for found, (cfg, weights, _, _) in zip(ours[:2], cases):
        model = ranks.build(cfg, weights)  # one process does the same
        alone = ranks.balance(model, model, detection_batch)
        for mine, expected in zip(found['logs'], alone['logs']):
            assert mine.keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(
                    mine[key], value, rtol=1e-3, atol=1e-5)
        assert found['logs'][-1]['balance.P2'] != 1
        for part in ('student', 'links', 'balancer'):
            for key, value in alone[part].items():
                torch.testing.assert_close(
                    found[part][key], value, rtol=1e-3, atol=1e-5)

    kept = ours[3]['balancer']  # a NaN on one rank changes neither's weights
    assert kept['skipped'] == 3 and kept['weights'].equal(torch.ones(4))
    assert not kept['inverse'].any()


def test_ppo_on_two_ranks_equals_one(ranks, two_processes):
    two, other = two_processes('update_half')
    one = ranks.update_policy(ranks.some_rollout())
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-5)
        assert torch.equal(two[key], other[key]), key


def test_a_nan_on_one_rank_skips_and_stops_on_both(
        ranks, two_processes, distiller_config, detection_batch):
    before = ranks.weights_of(MODELS.build(copy.deepcopy(distiller_config)))
    for rank in two_processes(
            'train_half_with_a_nan', distiller_config, before,
            detection_batch):
        assert rank['skipped'] == 3
        assert '2 updates in a row had a non-finite' in rank['stopped']
        for key, value in before['student'].items():
            assert torch.equal(rank['student'][key], value), key
