import pytest

from projects.scenes.difficulty import count_stratum, is_dense_small


@pytest.mark.parametrize(('count', 'name'), [
    (1, '1-3'), (3, '1-3'), (4, '4-7'), (7, '4-7'), (8, '8-10'), (10, '8-10'),
    (11, '>10'), (300, '>10')])
def test_strata_by_count(count: int, name: str) -> None:
    assert count_stratum(count) == name


@pytest.mark.parametrize(('areas', 'dense'), [
    ([99] * 8, True),
    ([99] * 7, False),                # not crowded
    ([100] * 8, False),               # a hundredth of the image is not small
    ([99] * 5 + [5000] * 3, True),    # most are small
    ([99] * 3 + [5000] * 5, False),
    ([], False)])
def test_dense_small(areas: list[int], dense: bool) -> None:
    assert is_dense_small(areas, 100 * 100) is dense
