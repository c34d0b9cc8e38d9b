import numpy as np
import torch

from mmrlkd.dynamic.blind import BlindRule


def test_images_are_looked_at_where_that_surely_earns_more():
    # Mean 1 and standard errors of 0, 0.46 and 0.58; a loss; nothing.
    gains = torch.tensor([[1., 0.2, 0., -1., 0.], [1., 1., 1., -1., 0.],
                          [1., 1.8, 2., -1., 0.]])
    rule = BlindRule.of_gains(torch.zeros(2), torch.arange(1., 6.), gains)
    assert rule.looks.tolist() == [True, True, False, False, False]
    assert rule.looks_at(np.array([2., 2.4, 2.5, 9.])).tolist() == [
        True, True, False, False]  # √6 = 2.449 parts the second and the third
