"""A selector that begins with a meta-policy."""

from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.selection.meta_policy import MetaPolicy, load_meta_policy
from mmrlkd.distillation.selection.policies import TokenPolicy
from mmrlkd.distillation.selection.recorded import RecordedEnvironment, Recording
from mmrlkd.registry import SELECTORS
from mmrlkd.rl.meta import MAML, ExactReward

SMALL = dict(width=3, hidden=8, layers=1)
POLICY = dict(type='mmrlkd.TokenPolicy', **SMALL)
EXACT = dict(type='mmrlkd.ExpectedReward')
RATE = .7


@pytest.fixture
def meta(tmp_path):
    """The file of a meta-policy with preferences."""

    def meta(name='meta.pth', policy=None, **changes):
        policy = policy or TokenPolicy(**SMALL)
        with torch.no_grad():
            policy.shared.action[2].weight.normal_()
        path = tmp_path / name
        path.write_bytes(replace(MetaPolicy(
            policy, dict(type='ResidualReward'), 1, RATE, ('a', 'b')),
            **changes).to_bytes())
        return str(path)

    return meta


@pytest.fixture
def make(make_space):

    def make(init, levels=4, **kwargs):
        selector = SELECTORS.build(dict(dict(
            type='mmrlkd.PolicySelector', policy=POLICY, learner=EXACT,
            horizon=1, rollout_batches=1, init=init, shots=10), **kwargs))
        selector.bind(replace(make_space(levels), strides=tuple(
            4. * 2**i for i in range(levels))))
        return selector

    return make


@pytest.fixture
def see(start, make_signals):
    """Let a selector observe and learn from images; whether it learnt."""

    def see(selector, losses, features):
        choice = selector.select(start(selector, features))
        selector.observe(make_signals(losses), choice)
        return selector.learn() is not None

    return see


def weights(selector):
    return {name: value.clone()
            for name, value in selector.policy.state_dict().items()}


def test_nothing_is_learnt_before_there_are_shots(meta, make, see):
    selector = make(meta())
    shared = load_meta_policy(selector._adaptation.init).policy.shared
    for name, value in shared.state_dict().items():
        assert selector.policy.shared.state_dict()[name].equal(value)
    before = weights(selector)
    assert not see(selector, torch.rand(6, 4), torch.randn(6, 5))
    assert all(before[name].equal(value)
               for name, value in weights(selector).items())
    assert see(selector, torch.rand(6, 4), torch.randn(6, 5))
    assert see(selector, torch.rand(6, 4), torch.randn(6, 5))


def test_adapts_as_a_recorded_environment_does(meta, make, see, monkeypatch):
    """The same weights as fast_adapt's on the same images."""
    init = meta()
    selector = make(init, adapt_steps=4, shots=8)
    monkeypatch.setattr(selector.learner, 'update', lambda gains: 'learnt')
    losses, features = torch.rand(8, 4), torch.randn(8, 5)
    assert see(selector, losses, features)
    found = weights(selector)

    subsets = torch.arange(16)[:, None] >> torch.arange(4) & 1
    gains = losses @ subsets.T.float()
    task = RecordedEnvironment(Recording(
        global_feature=features, level_features=torch.zeros(8, 12),
        context=torch.zeros(8, 0), level_losses=losses,
        gains=gains / gains[:, -1].mean(), batch_size=[8]),
        selector.space, 1, .5)
    expected = MAML(load_meta_policy(init).policy, ExactReward(), lr=RATE
                    ).fast_adapt(task, shots=8, steps=4).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    moved = load_meta_policy(init).policy.shared.state_dict()
    assert not found['shared.action.2.weight'].equal(moved['action.2.weight'])


def test_a_broken_image_does_not_adapt(meta, make, see, monkeypatch):
    selector = make(meta(), shots=8)
    monkeypatch.setattr(selector.learner, 'update', lambda gains: 'learnt')
    losses = torch.rand(8, 4)
    losses[2] = torch.nan
    assert see(selector, losses, torch.randn(8, 5))
    assert all(value.isfinite().all() for value in weights(selector).values())


@pytest.mark.parametrize('seen', [0, 6, 12])
def test_resumes(meta, make, see, seen):
    """Before there are shots, while it waits, and after."""
    init, batches = meta(), [
        (torch.rand(6, 4), torch.randn(6, 5)) for _ in range(4)]

    def run(selector, part):
        for i, batch in part:
            torch.manual_seed(i)
            see(selector, *batch)

    numbered = list(enumerate(batches))
    whole, first, second = make(init), make(init), make(init)
    run(whole, numbered)
    run(first, numbered[:seen // 6])
    second.load_run_state(first.run_state())
    second.load_local_run_state(first.local_run_state())
    run(second, numbered[seen // 6:])
    for name, value in weights(whole).items():
        assert value.equal(weights(second)[name]), name


def test_an_adapted_file_begins_at_once(meta, make, see, recorded_task):
    waiting = make(meta())
    see(waiting, torch.rand(12, 4), torch.randn(12, 5))
    init = meta('adapted.pth', waiting.policy, space=waiting.space)
    selector = make(init, adapt_steps=0)
    for name, value in weights(waiting).items():
        assert weights(selector)[name].equal(value), name
    assert see(selector, torch.rand(2, 4), torch.randn(2, 5))
    with pytest.raises(ValueError, match='init=.*accepted: a policy adapted to '
                       'the levels .*; this one is of'):
        make(init, levels=2)


@pytest.mark.parametrize(('options', 'message'), [
    (dict(policy=dict(POLICY, hidden=4)),
     r"policy=.*'hidden': 4.*; accepted: .*'hidden': 8.*the architecture of"),
    (dict(policy=dict(type='mmrlkd.MLPPolicy')),
     "policy='MLPPolicy'; accepted: TokenPolicy"),
    (dict(reward=dict(type='mmrlkd.AlignmentReward')),
     "reward='AlignmentReward'; accepted: ResidualReward"),
    (dict(horizon=2), 'horizon=2; accepted: 1'),
    (dict(learner=dict(type='mmrlkd.PPO')),
     "learner='PPO'; accepted: a learner of gains, such as ExpectedReward"),
    (dict(shots=0), 'shots=0; accepted: an integer >= 1'),
    (dict(adapt_steps=-1), 'adapt_steps=-1; accepted: an integer >= 0')])
def test_what_does_not_fit_is_refused(meta, make, options, message):
    with pytest.raises(ValueError, match=message):
        make(meta(), **options)


def test_files_are_read_without_running_code(meta, tmp_path):
    path = meta()
    assert torch.load(path, weights_only=True)['architecture'] == dict(
        SMALL, cells=1)
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={}), other)
    with pytest.raises(ValueError, match=r"model\.selector\.init=.*is no "
                       r'meta-policy .*; accepted: a file of tools/meta_train'):
        load_meta_policy(other, 'model.selector.init')
    with pytest.raises(ValueError, match=(
            r"init='nowhere.pth' \(relative to /.*\) is not a file")):
        load_meta_policy('nowhere.pth', 'init')
