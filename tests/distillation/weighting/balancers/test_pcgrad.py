"""PCGrad's known answers, and torchjd's own."""

import pytest
import torch

from mmrlkd.registry import BALANCERS


def build(kind='PCGrad', n=2, **kwargs):
    balancer = BALANCERS.build(dict(type=f'mmrlkd.{kind}', **kwargs))
    balancer.bind([str(i) for i in range(n)])
    return balancer


def weigh(rows, kind='PCGrad', active=None, **kwargs):
    rows = torch.as_tensor(rows)
    balancer = build(kind, len(rows), **kwargs).to(rows.dtype)
    return balancer.weigh(
        rows, torch.ones(len(rows)),
        torch.ones(len(rows), dtype=torch.bool) if active is None else active)


@pytest.mark.parametrize('rows, expected', [
    ([[1., 0.], [-1., 1.]], [0.5, 1.5]),
    ([[1., 0.], [-2., 0.]], [0., 0.]),
    ([[1., 0.], [1., 3.]], [2., 3.]),  # no conflict: the sum
    ([[1., 0.], [0., 0.]], [1., 0.]),
    ([[1., 0.], [-1., 1.], [0., 0.]], [0.5, 1.5]),
])
def test_the_sum_of_projected_gradients_is_known(rows, expected):
    rows = torch.tensor(rows)
    torch.testing.assert_close(weigh(rows) @ rows, torch.tensor(expected))


def test_the_sum_of_two_conflicts_with_neither():
    for _ in range(20):
        rows = torch.randn(2, 5)
        assert (rows @ (weigh(rows) @ rows) > -1e-5).all()


def test_an_inactive_level_is_projected_off_by_nobody():
    rows = torch.tensor([[1., 0.], [-1., 1.], [-1., 0.]])
    active = torch.tensor([True, True, False])
    torch.testing.assert_close(
        weigh(rows, active=active)[:2], weigh(rows[:2]))


@pytest.mark.parametrize('n', [2, 4, 6])
def test_equals_torchjd_in_float64(n):
    weighting = pytest.importorskip('torchjd.aggregation').PCGradWeighting()
    differs = False
    for seed in range(20):
        torch.manual_seed(seed)
        rows = torch.randn(n, 7, dtype=torch.float64)
        torch.manual_seed(100 + seed)  # the same permutations
        mine = weigh(rows)
        torch.manual_seed(100 + seed)
        theirs = weighting(rows @ rows.T)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
        differs |= not torch.allclose(mine, torch.ones_like(mine))
    assert differs


# -- torchjd's aggregators, by name ---------------------------------------------


@pytest.mark.parametrize('name, settings', [
    ('UPGrad', {}), ('PCGrad', {}), ('MGDA', {}), ('IMTLG', {}), ('Mean', {}),
    ('AlignedMTL', {}), ('DualProj', {}), ('Random', {}),
    ('UPGrad', dict(pref_vector=[1., 2., 1.])),
    ('Constant', dict(weights=[1., 2., 1.])),
    ('Krum', dict(n_byzantine=0)), ('FairGrad', dict(alpha=1.0)),
])
def test_torchjds_own_up_to_a_factor(name, settings):
    aggregation = pytest.importorskip('torchjd.aggregation')
    rows = torch.randn(3, 5)
    rows[1] -= rows[0]
    torch.manual_seed(0)
    weights = weigh(
        rows, 'TorchJDBalancer', aggregator=name, **settings)
    assert weights.abs().sum().item() == pytest.approx(3, rel=1e-5)
    torch.manual_seed(0)
    theirs = getattr(aggregation, name)(**{
        key: torch.tensor(value) if isinstance(value, list) else value
        for key, value in settings.items()})(rows / rows.norm(dim=1).max())
    torch.testing.assert_close(
        torch.nn.functional.normalize(weights @ rows, dim=0),
        torch.nn.functional.normalize(theirs, dim=0), rtol=1e-4, atol=1e-5)


def test_torchjd_never_sees_an_inactive_row():
    pytest.importorskip('torchjd')
    rows = torch.tensor([[1., 0.], [-1., 1.], [0., 0.]])
    active = torch.tensor([True, True, False])
    weights = weigh(
        rows, 'TorchJDBalancer', active=active, aggregator='MGDA')
    torch.testing.assert_close(weights, torch.tensor([1.2, 0.8, 1.0]))


@pytest.mark.parametrize('config, sentence', [
    (dict(aggregator='UpGrad'), "aggregator='UpGrad'; accepted: AlignedMTL"),
    (dict(aggregator='GradVac'), 'keep no state'),
    (dict(aggregator='ConFIG'), 'that weigh the rows'),
    (dict(aggregator='CAGrad'), "'CAGrad' cannot be built with {}"),
    (dict(aggregator='UPGrad', speed=1), "cannot be built with {'speed': 1}"),
])
def test_arguments_that_torchjd_refuses_are_named(config, sentence):
    pytest.importorskip('torchjd')
    with pytest.raises(ValueError, match=sentence):
        build('TorchJDBalancer', **config)


def test_without_torchjd_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'torchjd', None)
    with pytest.raises(ValueError, match=r'pip install mmrlkd\[balancing\]'):
        build('TorchJDBalancer')
