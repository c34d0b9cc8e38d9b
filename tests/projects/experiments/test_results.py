import json
import shutil
from pathlib import Path

import pytest

from mmrlkd.experiments.comparison import read_comparison
from mmrlkd.visualization.comparison_figure import draw, save
from mmrlkd.visualization.comparison_table import to_json, to_markdown
from mmrlkd.visualization.comparison_verdicts import comparison_verdicts

BEST, RANDOM = 'the best fixed subset', 'random levels at the same cost'


def said(work_dir: Path, begin: str, **options) -> str:
    found = [text for text in comparison_verdicts(
        read_comparison(work_dir, **options)) if text.startswith(begin)]
    assert len(found) == 1, (begin, found)
    return found[0]


def test_all_runs_are_found_by_family(work_dir) -> None:
    comparison = read_comparison(work_dir())
    assert [(run.method, run.family) for run in comparison.members
            if run.seed == 0] == [
        ('teacher', 'none'), ('student', 'none'), ('uniform', 'fixed'),
        ('chance', 'random'), ('ppo', 'RL')]
    assert len(comparison.members) == 1 + 4 * 3
    assert [run.method for run in comparison.subsets] == ['P3'] * 3 + ['P2'] * 3
    assert not comparison.missing
    assert {run.train_images for run in comparison.members} == {4 * 8}


def test_the_front_and_the_best(work_dir) -> None:
    folder = work_dir()
    comparison = read_comparison(folder)
    assert comparison.exhaustive
    assert comparison.front == ['P3', 'P2']  # all levels: dearer and worse
    assert comparison.best_fixed[0].method == 'P2'
    plain = read_comparison(folder, front=False)
    assert plain.best_fixed[0].method == 'uniform' and not plain.exhaustive


def test_only_the_methods_that_are_named(work_dir) -> None:
    comparison = read_comparison(work_dir(), ['ppo'], front=False)
    assert {run.method for run in comparison.members} == {'teacher', 'ppo'}


@pytest.mark.parametrize(('gone', 'content'), [
    ('last_checkpoint', 'iter_2.pth'), ('1/vis_data/scalars.json', ''),
    ('ppo.py', None)])
def test_what_is_not_finished_is_said(
        work_dir, gone: str, content: str | None) -> None:
    folder = work_dir()
    file = folder / 'ppo/seed_1' / gone
    file.unlink() if content is None else file.write_text(content)
    comparison = read_comparison(folder)
    assert comparison.missing == ['ppo, seed 1']
    assert [run.seed for run in comparison.members if run.method == 'ppo'] == [
        0, 2]
    assert said(folder, 'Begun and not finished').endswith('ppo, seed 1.')


def test_what_is_searched_for_is_trained_in_a_folder_of_it(
        tmp_path: Path, config_text, write_history, record) -> None:
    folder = tmp_path / 'exhaustive/seed_0'
    (folder / 'search').mkdir(parents=True)
    (folder / 'search/incumbent.json').write_text(
        json.dumps(dict(images=300, seconds=4.5)))
    assert read_comparison(tmp_path).missing == ['exhaustive, seed 0']
    (folder / 'found.py').write_text('')
    write_history(folder / 'train', 'found', config_text(
        dict(type='mmrlkd.FixedSelector', levels=('P3', ))), .4, record(4, 2.))
    run, = read_comparison(tmp_path).members
    assert (run.method, run.family, run.subset) == (
        'exhaustive', 'search', None)  # found, not chosen with hindsight
    assert (run.search_images, run.search_seconds) == (300, 4.5)
    assert run.train_images == 32


@pytest.mark.parametrize(('ppo', 'way'), [
    (.40, 'Better than'), (.362, 'No difference from'), (.30, 'Worse than')])
def test_intervals_decide_about_the_best_subset(
        work_dir, ppo: float, way: str) -> None:
    """Each interval is 0.5 wide on either side; the best has 36.0."""
    folder = work_dir(ppo)
    for words in ('Better than', 'No difference from', 'Worse than'):
        assert ('PPO' in said(folder, f'{words} {BEST}')) == (words == way)
    assert said(folder, 'Of the 3 fixed subsets of the levels, P2 is the best')
    assert 'student alone' in said(folder, f'Worse than {BEST}')


def test_chance_is_a_rival_at_its_cost_only(work_dir) -> None:
    folder = work_dir()
    text = said(folder, 'At a cost of 4.20 against 4.00: PPO reached 36.0')
    assert text.endswith('intervals do not overlap.')
    assert said(folder, f'Better than {RANDOM}').endswith(': PPO.')
    assert 'uniform (6.00 against 4.00)' in said(
        folder, 'Not compared with random levels')
    assert 'nothing here says' in said(
        folder, 'Random levels were not trained', methods=['ppo'])


def test_part_of_a_front_is_called_so(work_dir) -> None:
    folder = work_dir()
    assert said(folder, 'Of the 3 fixed subsets of the levels only uniform',
                front=False)
    shutil.rmtree(folder / 'front/P3')
    assert said(folder, 'Of the 2 fixed subsets that were trained, of 3')
    assert '"exhaustive": false' in to_json(read_comparison(folder))


def test_one_seed_shows_nothing(work_dir) -> None:
    folder = work_dir(.40)
    for seed in (1, 2):
        for run in folder.glob(f'**/seed_{seed}'):
            shutil.rmtree(run)
    assert said(folder, f'Better than {BEST}').endswith(': none.')
    assert said(folder, 'Where a method has one seed')


def test_the_table_and_the_numbers(work_dir) -> None:
    comparison = read_comparison(work_dir())
    lines = to_markdown(comparison).splitlines()
    assert '| PPO | RL | 0, 1, 2 | **36.0 ± 0.5** |' in '\n'.join(lines)
    assert '| P2 | fixed, for the front | 0, 1, 2 | 36.0 ± 0.5 |' in '\n'.join(
        lines)
    assert len({line.count('|') for line in lines if line[:1] == '|'}) == 1
    found = json.loads(to_json(comparison))
    assert [method['method'] for method in found['methods']] == [
        'teacher', 'student', 'uniform', 'chance', 'ppo', 'P3', 'P2']
    p2 = found['methods'][-1]
    assert p2['on_the_front'] and p2['only_for_the_front']
    assert [run['metrics']['mAP'] for run in p2['runs']] == [.358, .36, .362]


def test_the_figure_names_every_method(work_dir, tmp_path: Path) -> None:
    comparison = read_comparison(work_dir())
    panel, = draw(comparison).axes
    names = [text.get_text() for text in panel.texts]
    assert sorted(names) == sorted([
        'student alone 30.0', 'uniform 35.0', 'chance 33.0', 'PPO 36.0', 'P2',
        'P3'])
    save(comparison, tmp_path / 'one.png')
    save(comparison, tmp_path / 'two.png')
    for suffix in ('.png', '.svg'):
        one, two = (tmp_path / f'{name}{suffix}' for name in ('one', 'two'))
        assert one.read_bytes() == two.read_bytes()


def test_names_do_not_cover_each_other(work_dir) -> None:
    panel, = draw(read_comparison(work_dir())).axes
    boxes = [text.get_window_extent() for text in panel.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
