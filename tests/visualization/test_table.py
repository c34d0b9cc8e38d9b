import pytest

from mmrlkd.visualization.table import (
    cost_columns,
    quality_columns,
    rows,
    terminal_columns,
)


def cells(results, columns, title: str) -> dict[str, tuple[str, bool]]:
    place = [column.title for column in columns].index(title)
    return {row.method: (row.cells[place].text, row.cells[place].best)
            for row in rows(results, columns)}


def test_the_best_student_is_marked_and_the_teacher_is_first(
        make_results) -> None:
    results = make_results()
    columns = quality_columns(results)
    assert rows(results, columns)[0].method == 'teacher'
    assert cells(results, columns, 'mAP') == {
        'teacher': ('45.0', False), 'student': ('35.0', False),
        'uniform': ('38.0', False), 'ppo': ('40.0', True)}
    assert cells(results, columns, 'APl')['ppo'] == ('–', False)
    assert cells(results, columns, '>10 objects')['ppo'] == ('40.0', True)


def test_costs_compete_among_those_that_distil(make_results) -> None:
    results = make_results()
    columns = cost_columns(results)
    assert cells(results, columns, 'nominal cost') == {
        'teacher': ('–', False), 'student': ('–', False),
        'uniform': ('7.50', False), 'ppo': ('4.50', True)}
    # All take the same time: none is the best.
    assert not any(best for _, best in cells(
        results, columns, 's / iteration').values())


def test_several_seeds_have_intervals(make_results) -> None:
    results = make_results(ppo=(.38, .39, .40))
    columns = quality_columns(results)
    assert cells(results, columns, 'mAP')['ppo'] == ('39.0 ± 2.5', True)
    assert rows(results, columns)[-1].seeds == '0, 1, 2'


def test_the_terminal_shows_the_main_columns(make_results) -> None:
    assert [column.short for column in terminal_columns(make_results())] == [
        'mAP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'levels/image', 'cost',
        'GFLOPs/image', 's/iter']


@pytest.mark.parametrize(('task', 'names', 'by_difficulty'), [
    ('segmentation', ['mIoU', 'pixel accuracy', 'class accuracy'], 5),
    ('classification', ['top-1', 'top-5'], 0),
    ('instance', ['mask mAP', 'mask AP50', 'mask AP75', 'mask APs',
                  'mask APm', 'box mAP', 'box AP50', 'box AP75'], 5)])
def test_each_task_has_its_columns(
        make_results, task: str, names: list[str], by_difficulty: int) -> None:
    results = make_results(task=task)
    columns = quality_columns(results)
    assert [c.title for c in columns][:len(names)] == names
    assert len(columns) == len(names) + by_difficulty
    assert cells(results, columns, names[0])['ppo'] == ('40.0', True)
    assert [c.short for c in terminal_columns(results)][:len(names)] == names


def test_logits_cost_too(make_results) -> None:
    results = make_results(kd=(.36, ), task='classification')
    columns = cost_columns(results)
    assert cells(results, columns, 'logits') == {
        'teacher': ('–', False), 'student': ('–', False),
        'kd': ('0.100', False), 'uniform': ('–', False), 'ppo': ('–', False)}
    assert cells(results, columns, 'in all')['kd'][0] == '0.100'
    assert 'logits' not in [c.title for c in cost_columns(make_results())]
