import json
import math
import shutil
from pathlib import Path

import pytest

from projects.experiments.figures import cost_quality
from projects.experiments.figures.labels import distance
from projects.experiments.figures.style import method_colour
from projects.experiments.report import write_report
from projects.experiments.results import load_table, read_results, save_table
from projects.experiments.tables import (
    best_fixed,
    cost_columns,
    differences,
    quality_columns,
    summarise,
    to_markdown,
)


def test_every_finished_run_is_a_row_the_teacher_first(work_dir) -> None:
    table, missing = read_results(work_dir())
    assert len(table) == 1 + 6 * 3 and not missing
    assert list(dict.fromkeys(table.method)) == [
        'teacher', 'chance', 'ppo', 'student', 'uniform', 'P3', 'P2']
    assert table[table.hindsight].method.tolist() == ['P3'] * 3 + ['P2'] * 3
    assert set(table.train_images) == {4 * 8}
    assert table.quality.iloc[0] == pytest.approx(45)


def test_the_table_survives_its_file(work_dir, tmp_path: Path) -> None:
    table, _ = read_results(work_dir())
    save_table(table, tmp_path / 'a.csv')
    again = load_table(tmp_path / 'a.csv')
    save_table(again, tmp_path / 'b.csv')
    assert (tmp_path / 'a.csv').read_bytes() == (tmp_path / 'b.csv').read_bytes()
    (tmp_path / 'c.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='no table of results'):
        load_table(tmp_path / 'c.csv')


@pytest.mark.parametrize(('gone', 'content'), [
    ('last_checkpoint', 'iter_2.pth'), ('1/vis_data/scalars.json', ''),
    ('ppo.py', None)])
def test_what_is_not_finished_is_named(
        work_dir, gone: str, content: str | None) -> None:
    folder = work_dir()
    file = folder / 'ppo/seed_1' / gone
    file.unlink() if content is None else file.write_text(content)
    table, missing = read_results(folder)
    assert missing == ['ppo, seed 1']
    assert table[table.method == 'ppo'].seed.tolist() == [0, 2]


def test_the_work_of_descriptors_is_counted(
        tmp_path: Path, config_text, write_history, record) -> None:
    write_history(
        tmp_path / 'worth/seed_0', 'worth', config_text(
            dict(type='mmrlkd.PolicySelector')), .4,
        record(4, 2., descriptor_gflops=0.5))
    row = read_results(tmp_path)[0].iloc[0]
    assert row.descriptor_gflops == 0.5
    assert row.gflops == pytest.approx(0.2 + 0.5)


def test_what_a_search_cost_is_in_the_row_of_what_it_found(
        tmp_path: Path, config_text, write_history, record) -> None:
    folder = tmp_path / 'exhaustive/seed_0'
    (folder / 'search').mkdir(parents=True)
    (folder / 'search/incumbent.json').write_text(
        json.dumps(dict(images=300, seconds=4.5)))
    (folder / 'found.py').write_text('')
    write_history(folder / 'train', 'found', config_text(
        dict(type='mmrlkd.FixedSelector', levels=('P3', ))), .4, record(4, 2.))
    row = read_results(tmp_path)[0].iloc[0]
    assert (row.selector, row.subset) == ('search', '')
    assert (row.search_images, row.search_seconds) == (300, 4.5)


def test_tables_have_intervals_or_say_one_seed(work_dir) -> None:
    table, _ = read_results(work_dir())
    shown = summarise(table, quality_columns(table))
    assert shown.loc['PPO', ('all images', 'mAP')] == '36.0 ± 0.5'
    assert shown.loc['PPO', ('', 'seeds')] == 'seeds 0, 1, 2'
    assert shown.loc['teacher', ('', 'seeds')] == 'seed 0 (one seed: no interval)'
    assert '| PPO | 36.0 ± 0.5 |' in to_markdown(shown)
    costs = summarise(table, cost_columns(table))
    assert costs.loc['PPO', ('distillation, per image', 'cost')] == '4.20'


def test_differences_are_paired_and_the_best_subset_is_a_baseline(
        work_dir) -> None:
    table, _ = read_results(work_dir(.40))
    assert best_fixed(table) == 'P2'
    found = differences(table)
    assert found.loc['PPO', 'above student alone'] == '+10.0 ± 0.0'
    assert found.loc['PPO', 'above best fixed subset (P2)'] == '+4.0 ± 0.0'


def test_names_stand_at_their_points_in_their_colours_and_apart(work_dir) -> None:
    table, _ = read_results(work_dir())
    panel, = cost_quality.draw(table, cost_quality.COST).axes
    assert min(panel.get_xticks()) == 0  # nothing costs less
    expected = {'student alone 30.0': ('student', 0, 30),
                'uniform 35.0': ('uniform', 6, 35),
                'chance 33.0': ('chance', 4, 33), 'PPO 36.0': ('ppo', 4.2, 36)}
    places = {text: panel.transData.transform((x, y))
              for text, (_, x, y) in expected.items()}
    boxes = {}
    for text in panel.texts:
        boxes[text.get_text()] = text.get_window_extent()
        if text.get_text() in expected:
            method = expected[text.get_text()][0]
            assert text.get_color() == method_colour(method)
    assert set(expected) <= set(boxes)
    for name in expected:
        assert min(places, key=lambda n: distance(boxes[name], places[n])) == name
    names = list(boxes)
    for i, name in enumerate(names):
        assert not any(boxes[name].overlaps(boxes[o]) for o in names[:i])


def test_a_method_has_one_colour_whatever_stands_beside_it(work_dir) -> None:
    folder = work_dir()
    shutil.rmtree(folder / 'uniform')
    panel = cost_quality.draw(read_results(folder)[0]).axes[0]
    colours = {text.get_text(): text.get_color() for text in panel.texts}
    assert colours['PPO 36.0'] == '#2da44e' == method_colour('ppo')


def test_the_page_is_self_contained_and_readable_on_a_phone(work_dir) -> None:
    folder = work_dir()
    table, _ = read_results(folder, front=False)
    write_report(table, folder, folder / 'report.html')
    page = (folder / 'report.html').read_text()
    assert 'http' not in page and '@import' not in page
    assert 'name="viewport"' in page
    assert page.count('<div class="scroll"><table') == 3
    assert 'seeds 0, 1, 2' in page and 'seeds 0<' not in page
    assert '<b>' not in page


def test_cost_after_the_warm_up_stands_beside_that_of_all_iterations(
        tmp_path: Path, config_text, write_history, record) -> None:
    phases = [dict(name='pretrain', share=.25), dict(name='search', share=.75)]
    text = config_text(
        dict(type='mmrlkd.PolicySelector'),
        [dict(type='mmrlkd.PhaseHook', phases=phases)], 8)
    write_history(tmp_path / 'policy/seed_0', 'policy', text, .4,
                  record(2, 6.), record(5, 2.), record(8, 1.))
    write_history(tmp_path / 'student/seed_0', 'student',
                  config_text(None, iterations=8), .3, record(8))
    table = read_results(tmp_path)[0].set_index('method')
    assert table.distill_cost['policy'] == (2 * 6 + 3 * 2 + 3 * 1) / 8
    assert table.chosen_cost['policy'] == (3 * 2 + 3 * 1) / 6
    assert math.isnan(table.chosen_cost['student'])


def test_a_control_is_a_baseline_and_the_page_says_what_it_is(
        work_dir, tmp_path: Path, config_text, write_history, record) -> None:
    folder = work_dir()
    selector = dict(type='mmrlkd.ControlSelector',
                    selector=dict(type='mmrlkd.PolicySelector'))
    for seed in range(3):
        write_history(folder / f'worth_shuffled/seed_{seed}', 'worth_shuffled',
                      config_text(selector), .34, record(4, 4.2))
    table, _ = read_results(folder)
    found = differences(table)
    assert found.loc['PPO', 'above worth, shuffled'] == '+2.0 ± 0.5'
    write_report(table, folder, tmp_path / 'page.html')
    assert 'worth, shuffled is the control: it trains' in (
        tmp_path / 'page.html').read_text()
