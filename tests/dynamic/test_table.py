"""The table of a profile: what is written is read, and what is wrong is said."""

import math

import pyarrow.parquet as pq
import pytest
import torch

from mmrlkd.dynamic.table import ProfileTable, read_header


def test_what_is_written_is_read(write_profile, profile_rows):
    rows = profile_rows(7)
    table = ProfileTable.read(write_profile(rows[::-1]), 'complete')
    assert (len(table), len(table.space)) == (7, 6)
    assert table.images[2] == '2.jpg'
    for row in rows:
        i = row['image']
        s = next(s for s in range(6) if table.space.values(s) == {
            key: row[key] for key in ('scale', 'blocks')})
        assert table.latency[i, s] == pytest.approx(row['latency_ms'])
        assert table.quality[i, s] == pytest.approx(row['quality'])
        assert table.difficulty[i] == row['difficulty']
        if row['feature'] is not None:
            torch.testing.assert_close(
                table.features[i], torch.tensor(row['feature']))
    assert table.measured.all()
    assert table.context.shape == (7, 0)
    assert table.propensity is None


def test_settings_are_in_the_order_of_the_space(profile):
    assert profile.space.values(1) == {'scale': 0.5, 'blocks': 'all'}
    assert profile.space.values(2) == {'scale': 0.75, 'blocks': 'few'}
    torch.testing.assert_close(
        profile.latency.mean(0), torch.tensor([10., 25, 20, 35, 30, 45]),
        rtol=0.01, atol=0)


def test_a_part_of_a_table_has_its_images(profile):
    part = profile.take(torch.tensor([5, 3]))
    assert part.images == ('5.jpg', '3.jpg')
    assert part.latency.equal(profile.latency[[5, 3]])
    assert part.difficulty == (profile.difficulty[5], profile.difficulty[3])


def logged(rows):
    """One setting of each image, with its propensity."""
    return [{**row, 'propensity': 1 / 6, 'feature': [float(row['image'])]}
            for k, row in enumerate(rows) if k % 6 == row['image'] % 6]


def test_a_log_has_what_was_chosen(write_profile, profile_rows):
    path = write_profile(logged(profile_rows(8)), 'log')
    table = ProfileTable.read(path, 'log')
    assert table.measured.sum(1).eq(1).all()
    assert table.measured.long().argmax(1).tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert table.latency.isnan().equal(~table.measured)
    torch.testing.assert_close(
        table.propensity[table.measured], torch.full((8, ), 1 / 6))


def test_kinds_are_not_mixed(write_profile, profile_rows):
    path = write_profile(logged(profile_rows(8)), 'log')
    with pytest.raises(ValueError, match="'log' and was announced as 'complete'"):
        ProfileTable.read(path, 'complete')
    path = write_profile(profile_rows(3))
    with pytest.raises(ValueError, match="'complete' and was announced as 'log'"):
        ProfileTable.read(path, 'log')
    path = write_profile(logged(profile_rows(8)), 'complete')
    with pytest.raises(ValueError, match='a column propensity; accepted: none'):
        ProfileTable.read(path, 'complete')
    path = write_profile(profile_rows(3), 'log')
    with pytest.raises(ValueError, match='no column propensity; accepted: one'):
        ProfileTable.read(path, 'log')


def test_tables_of_others_need_no_header(write_profile, profile_rows, tmp_path):
    path = write_profile(profile_rows(3))
    knobs = read_header(path).knobs
    table = pq.read_table(path).replace_schema_metadata(None)
    # Columns that are not documented are none of the table's concern.
    pq.write_table(table.append_column('camera', [['a'] * len(table)]), path)
    assert read_header(path) is None
    with pytest.raises(ValueError, match=r'has no header; accepted: .*knobs=\['):
        ProfileTable.read(path, 'complete')
    assert len(ProfileTable.read(path, 'complete', knobs)) == 3


def test_other_knobs_are_refused(write_profile):
    knobs = [dict(name='scale', values=[0.5, 1.0]),
             dict(name='blocks', values=['few', 'all'])]
    with pytest.raises(ValueError, match='is of the knobs .*0.75'):
        ProfileTable.read(write_profile(), 'complete', knobs)


def change(**values):
    return lambda rows: rows[4].update(values)


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda rows: rows.pop(4), '5 of 6 settings of the image 0; accepted: all'),
    (lambda rows: rows.append({**rows[4]}),
     'the image 0 twice in the setting scale=1.0 blocks=few'),
    (change(latency_ms=-1.), 'latency_ms=-1.0 for the image 0; accepted: finite '
     'numbers > 0'),
    (change(latency_ms=math.nan), 'latency_ms=nan for the image 0'),
    (change(latency_ms=math.inf), 'latency_ms=inf for the image 0'),
    (change(quality=math.nan), 'quality=nan for the image 0; accepted: numbers in '),
    (change(quality=1.5), r'quality=1.5 for the image 0; .*\[0, 1\]'),
    (change(quality=None), 'quality=nan for the image 0'),
    (change(scale=0.6), 'scale=0.6; accepted: the values of this knob, 0.5, 0.75'),
    (change(image=None), 'a column image of type int64 with 1 nulls'),
    (lambda rows: rows[6].update(feature=None), 'no feature of the image 1'),
    (lambda rows: rows[6].update(feature=[1.]), r'feature of \[1, 4\] numbers'),
    (lambda rows: rows[6].update(feature=[1., 2., math.nan, 4.]),
     'a feature that is not finite, of the image 1'),
    (lambda rows: [row.pop('feature') for row in rows], 'no column feature'),
    (lambda rows: [row.pop('blocks') for row in rows], 'no column blocks'),
    (lambda rows: rows.clear(), 'has no column image'),
])
def test_what_is_wrong_with_a_row_is_said(
        write_profile, profile_rows, spoil, message):
    rows = profile_rows(3)
    spoil(rows)
    path = write_profile(rows)
    with pytest.raises(ValueError, match=message):
        ProfileTable.read(path, 'complete')


@pytest.mark.parametrize('chance', [0., 1.5, math.nan])
def test_propensities_are_probabilities(write_profile, profile_rows, chance):
    rows = logged(profile_rows(8))
    rows[2]['propensity'] = chance
    with pytest.raises(ValueError, match=f'propensity={chance} for the image 2'):
        ProfileTable.read(write_profile(rows, 'log'), 'log')


def test_a_log_has_one_row_for_each_image(write_profile, profile_rows):
    rows = logged(profile_rows(8))
    rows.append({**rows[0], 'blocks': 'all'})
    with pytest.raises(ValueError, match='2 of 6 settings of the image 0'):
        ProfileTable.read(write_profile(rows, 'log'), 'log')


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(ValueError, match='is not a file; accepted: the table'):
        ProfileTable.read(tmp_path / 'none.parquet', 'complete')
    (tmp_path / 'text.parquet').write_text('image,quality')
    with pytest.raises(ValueError, match='is no Parquet file'):
        ProfileTable.read(tmp_path / 'text.parquet', 'complete')


def test_columns_that_are_not_documented_are_not_written(
        write_profile, profile_rows):
    rows = profile_rows(2)
    rows[0]['speed'] = 1
    with pytest.raises(ValueError, match=r"columns \['speed'\]; accepted: image"):
        write_profile(rows)
