"""Does it pay to look at the image? Only where what pays can be seen.

An image needs one of the 16 sets of levels, each equally often. A level that it
needs is worth 1, and each level has its price. What every subset is worth to
every image is known, so every score is an exact expectation: 0 is a subset at
random, 1 the best subset for each image. The best of the 15 fixed subsets
scores 0.49.
"""

import pytest
import torch

from mmrlkd.rl import subset_table

SUBSETS = subset_table(4, torch.device('cpu')).float()
PRICES = torch.tensor([0.65, 0.3, 0.2, 0.15])
#: (16 needs, 16 subsets), of which all but the empty one may be chosen.
WORTH = (SUBSETS - PRICES) @ SUBSETS.T
NOT_EMPTY = torch.arange(16) > 0

#: Updates and learning rate, twice the updates that first sufficed on both
#: problems; REINFORCE takes one step where the others take 16, or 8.
BUDGETS = {'ExpectedReward': (16, 3e-3), 'GRPO': (16, 3e-3), 'PPO': (16, 3e-3),
           'REINFORCE': (96, 1e-2)}
EPISODES = 128


def score(worth):
    choices = WORTH[:, NOT_EMPTY]
    blind, best = choices.mean(), choices.amax(1).mean()
    return float((worth - blind) / (best - blind))


BEST_FIXED = score(WORTH[:, NOT_EMPTY].mean(0).max())


@pytest.fixture
def learned(build_policy, build_learner, make_states, act, gains_of):
    """Train, and give the exact expected worth of the likeliest subsets."""

    def show(needs):
        signs = SUBSETS[needs] * 2 - 1
        return torch.cat([signs, torch.zeros_like(signs)], -1)[None]

    def run(name, visible, updates=None, expected=False, **settings):
        budget, lr = BUDGETS[name]
        updates = updates or budget
        policy = build_policy('MLPPolicy', horizon=1, hidden=32)
        learner = build_learner(name, policy, lr=lr, **settings)
        for update in range(updates):
            images = (2, EPISODES // learner.group_size)
            needed, shown = torch.randint(16, images).repeat_interleave(
                learner.group_size, 1)
            if visible:
                shown = needed
            learner.set_progress(update / updates)
            learner.update(
                gains_of(show(shown)[0], WORTH[needed][:, NOT_EMPTY])
                if learner.needs == 'gains' else act(
                    policy, show(shown), NOT_EMPTY.expand(1, EPISODES, 16),
                    lambda actions, needed=needed: WORTH[needed, actions]))
        with torch.no_grad():
            choice, _ = policy.evaluate(make_states(show(torch.arange(16))))
        if expected:
            return score((choice.probs[0] * WORTH).sum(-1).mean())
        chosen = choice.mode()[0]
        if visible:
            return score(WORTH[torch.arange(16), chosen].mean())
        # What is shown says nothing: every need may come with it.
        return score(WORTH[:, chosen].mean())

    return run


def test_the_problem_is_what_it_says():
    assert score(WORTH[:, NOT_EMPTY].mean()) == 0
    assert score(WORTH[:, NOT_EMPTY].amax(1).mean()) == 1
    assert abs(BEST_FIXED - 0.4928) < 1e-4
    assert WORTH[:, NOT_EMPTY].mean(0).argmax() + 1 == 0b1110


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('name', BUDGETS)
def test_beats_the_best_fixed_subset_where_it_can(learned, name, seed):
    """It closes at least half of the gap to the best subset for each image."""
    torch.manual_seed(seed)
    assert learned(name, visible=True) > (BEST_FIXED + 1) / 2


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('name', BUDGETS)
def test_and_not_where_it_cannot(learned, name, seed):
    """Images need what they need, but nothing of it shows: the best fixed
    subset is the best there is, and it is nearly found."""
    torch.manual_seed(seed)
    found = learned(name, visible=False)
    assert BEST_FIXED - 0.1 < found < BEST_FIXED + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize(('name', 'updates', 'settings'), [
    ('ExpectedReward', 19, dict(steps=16)),
    ('PPO', 19, {}), ('GRPO', 76, {})])
def test_regret_to_the_best_subset_of_each_image(
        learned, name, updates, settings, seed):
    """From the same 2 432 images (GRPO plays four episodes of each), what is
    *drawn* loses at most a twentieth of what choosing at random loses. On
    rewards without noise that the state tells, sampling loses little, too.

    With its entropy at a fifth (0.01) the exact learner stays at a wrong single
    level on some seeds: from one level to another leads no way along which
    independent levels gain, and it has no noise to get there."""
    torch.manual_seed(seed)
    assert 1 - learned(name, True, updates, True, **settings) < 0.05
