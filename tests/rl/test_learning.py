"""Does PPO learn? Three seeds each, at twice the samples that first sufficed."""

import pytest
import torch
from mmrlkd.decision import SubsetDistribution, subset_table

SEEDS = [0, 1, 2]
NOT_EMPTY = torch.arange(16) > 0


@pytest.mark.parametrize('seed', SEEDS)
def test_contextual_bandit(build_policy, build_ppo, make_states, act, seed):
    """Context of 8 numbers, 15 subsets, a linear gain for each level.

    The score is 0 for choosing blindly and 1 for choosing the best subset for
    every context. 0.97 is first reached after about 5 000 samples.
    """
    torch.manual_seed(seed)
    gains = torch.randn(8, 4)
    table = subset_table(4, torch.device('cpu')).float()
    batch, updates = 256, 40
    policy = build_policy(horizon=1, hidden=64)
    learner = build_ppo(policy, lr=1e-3)
    for update in range(updates):
        context = torch.randn(1, batch, 8)
        worth = context @ gains @ table.T
        rollout = act(
            policy, context, NOT_EMPTY.expand(1, batch, 16),
            lambda actions, worth=worth: worth.gather(
                -1, actions[..., None])[..., 0])
        learner.set_progress(update / updates)
        learner.update(rollout)

    context = torch.randn(1, 4000, 8)
    worth = (context @ gains @ table.T)[0, :, 1:]
    with torch.no_grad():
        logits, _ = policy.evaluate(make_states(context))
    chosen = SubsetDistribution(logits, NOT_EMPTY.expand(1, 4000, 16)).mode()
    reached = worth.gather(-1, chosen[0, :, None] - 1).mean()
    blind, best = worth.mean(), worth.amax(-1).mean()
    assert (reached - blind) / (best - blind) >= 0.97


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize(('name', 'share'), [
    ('LSTMPolicy', 1.), ('MLPPolicy', 0.5)])
def test_recall_of_a_cue(
        build_policy, build_ppo, make_states, act, name, share, seed):
    """The cue shows at step 1, the answer is due at step 4.

    In between nothing may be chosen, so nothing but memory can carry it. The
    LSTM is first always right after about 12 updates.
    """
    torch.manual_seed(seed)
    batch, updates = 64, 24
    feasible = torch.zeros(4, 1, 16, dtype=torch.bool)
    feasible[:3, :, 0] = True
    feasible[3, :, [1, 8]] = True

    def show(cue):
        features = torch.zeros(4, len(cue), 8)
        features[0, :, 0] = cue * 2. - 1.
        return features

    def right(actions, cue):
        correct = actions == torch.where(cue, 8, 1)
        correct[:3] = False
        return correct.float()

    policy = build_policy(name)
    learner = build_ppo(policy, lr=3e-3)
    for update in range(updates):
        cue = torch.randint(2, (batch, )).bool()
        learner.set_progress(update / updates)
        learner.update(act(policy, show(cue), feasible.expand(4, batch, 16),
                           lambda actions, cue=cue: right(actions, cue)))

    cue = torch.arange(100) < 50
    with torch.no_grad():
        logits, _ = policy.evaluate(make_states(show(cue)))
    answers = SubsetDistribution(logits, feasible.expand(4, 100, 16)).mode()
    assert right(answers, cue)[3].mean() == share
