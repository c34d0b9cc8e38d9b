"""The figure of a comparison; that it is written is in test_budget_tools.py."""

from mmrlkd.dynamic.figure import in_order


def test_strata_are_in_the_order_of_their_numbers():
    assert in_order(['>10', '4-10', '0', '1-3', 'all']) == [
        '0', '1-3', '4-10', '>10', 'all']
