import pytest

from mmrlkd.evaluation.estimate import Estimate, estimate


def test_known_interval() -> None:
    found = estimate([1, 2, 3])
    assert found.mean == 2
    assert found.half_width == pytest.approx(2.484, abs=5e-4)
    assert found.count == 3


def test_a_single_value_has_no_interval() -> None:
    assert estimate([5.]) == Estimate(5., None, 1)


@pytest.mark.parametrize(('mine', 'theirs', 'overlap'), [
    (Estimate(2, 1, 3), Estimate(4, 1.5, 3), True),
    (Estimate(4, 1.5, 3), Estimate(2, 1, 3), True),
    (Estimate(2, 1, 3), Estimate(4, .5, 3), False),
    (Estimate(2, None, 1), Estimate(9, 1, 3), True)])
def test_overlap(mine: Estimate, theirs: Estimate, overlap: bool) -> None:
    assert mine.overlaps(theirs) is overlap
