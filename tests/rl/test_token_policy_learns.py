"""The token policy learns what the LSTM policy learns, in as many episodes."""

import pytest
import torch

from mmrlkd.registry import POLICIES
from mmrlkd.rl import Rollout, subset_table
from mmrlkd.structures import LevelSpace

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (2, 2, 2, 2), 8, (4., 8., 16., 32.))
TABLE = subset_table(4, torch.device('cpu')).float()
POLICIES_TO_COMPARE = {
    'LSTMPolicy': dict(hidden=32, global_dim=8, level_dim=2),
    'TokenPolicy': dict(hidden=32, width=8),
}


@pytest.fixture
def score(build_learner, make_states):
    """Train on a contextual bandit: what a level is worth is a linear function
    of its own two features, another one for each level. 0 is a random subset,
    1 the best of the 15 for every context."""

    def show(contexts, gains):
        features = torch.randn(1, contexts, 8)
        states = make_states(torch.zeros(1, contexts, 8))
        worth = (features * gains).unflatten(-1, (4, 2)).sum(-1) @ TABLE.T
        return states.replace(level_features=features), worth

    def run(name, seed, updates, batch=128):
        torch.manual_seed(seed)
        gains = torch.randn(8)
        policy = POLICIES.build(dict(
            type=f'mmrlkd.{name}', **POLICIES_TO_COMPARE[name]))
        policy.bind(SPACE, 1)
        learner = build_learner('PPO', policy, lr=3e-3)
        for update in range(updates):
            states, worth = show(batch, gains)
            with torch.no_grad():
                choice, value = policy.evaluate(states)
            action = choice.sample()
            learner.set_progress(update / updates)
            learner.update(Rollout(
                observation=states, action=action, value=value,
                log_prob=choice.log_prob(action).detach(),
                reward=worth.gather(-1, action[..., None])[..., 0],
                batch_size=states.batch_size))
        states, worth = show(2000, gains)
        with torch.no_grad():
            chosen = policy.evaluate(states)[0].mode()
        reached = worth.gather(-1, chosen[..., None]).mean()
        blind, best = worth[..., 1:].mean(), worth[..., 1:].amax(-1).mean()
        return float((reached - blind) / (best - blind))

    return run


def test_it_learns_a_contextual_bandit_as_well_as_the_lstm_policy(score):
    """The token policy passes 0.95 on all seeds after about 6 updates."""
    scores = {name: [score(name, seed, updates=12) for seed in range(3)]
              for name in POLICIES_TO_COMPARE}
    assert min(scores['TokenPolicy']) > 0.95
    assert sum(scores['TokenPolicy']) > sum(scores['LSTMPolicy']) - 3 * 0.03
