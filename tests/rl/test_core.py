"""The core by itself: an environment of its own, and what it must not know."""

import ast
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torch import nn

import mmrlkd.rl
from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.rl import (
    GRPO,
    PPO,
    REINFORCE,
    FactoredCategorical,
    Outcome,
    PolicyModule,
    PPOLoss,
    RolloutStorage,
    play,
    set_aside_broken,
)
from mmrlkd.structures import LevelSpace

ROOT = Path(mmrlkd.rl.__file__).parent


def test_it_imports_neither_levels_nor_detectors_nor_hooks():
    allowed = {'mmrlkd.rl', 'mmrlkd.registry', 'mmrlkd.arguments', 'mmengine'}
    for path in ROOT.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith(('mmrlkd', 'mm')):
                    assert any(name == each or name.startswith(f'{each}.')
                               for each in allowed), f'{path.name}: {name}'
                if name == 'mmengine':  # nothing of it but collectives
                    assert [alias.name for alias in node.names] == ['dist']


def test_the_example_of_the_architecture_page_runs(build_policy):
    """An adapted policy, and gradients of its loss to the weights it began
    with, which are not those of a policy that ignores the step."""
    page = (ROOT.parents[1] / 'docs' / 'architecture.md').read_text()
    section = page.split('## The RL core')[1].split('\n## ')[0]
    code = section.split('```python')[1].split('```')[0]
    scope = {}
    exec(code, scope)
    policy = build_policy()
    space = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                       (2, 2, 2, 2), 8)

    class Rewarded(DecisionProcess):

        def step(self, action):
            observation, _ = super().step(action)
            return Outcome(observation, (action == 8).float())

    class Losses:
        def compute(self, levels):
            return levels.float()

    def environment():
        return Rewarded(space, torch.randn(6, 8), torch.randn(6, 8), Losses(), 4)

    weights = dict(policy.named_parameters())
    after = scope['adapted'](policy, environment(), weights, 0.1)
    episode = play(environment(), after)
    batch, _ = PPOLoss().minibatch(
        PPOLoss().prepare(after, *set_aside_broken(episode)))
    loss, _ = PPOLoss().loss(after, batch)
    through = torch.autograd.grad(
        loss, list(weights.values()), retain_graph=True)
    first_order = torch.autograd.grad(loss, list(after.parameters.values()))
    for one, two in zip(through, first_order, strict=True):
        assert one.isfinite().all()
        assert one.shape == two.shape
    assert any(not one.equal(two)
               for one, two in zip(through, first_order, strict=True))


class Knobs:
    """Two knobs, set once; what is right can be read off the observation."""

    horizon = 1
    device = torch.device('cpu')

    def __init__(self, batch, later=False):
        self.batch_size = batch
        self.later = later
        self.want = torch.randint(3, (batch, ))

    def reset(self):
        shown = nn.functional.one_hot(self.want, 3).float()
        mask = TensorDict(dict(
            coarse=torch.ones(self.batch_size, 3, dtype=torch.bool),
            fine=torch.tensor([True, True, False]).expand(
                self.batch_size, 3)), [self.batch_size])
        return TensorDict(dict(shown=shown, action_mask=mask),
                          [self.batch_size])

    def worth(self, action):
        return ((action['coarse'] == self.want).float() +
                (action['fine'] == self.want.clamp(max=1)).float())

    def step(self, action):
        reward = None if self.later else self.worth(action)
        return Outcome(self.reset(), reward)


class KnobPolicy(PolicyModule):
    """Without memory and without critic."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict(dict(
            coarse=nn.Linear(3, 3), fine=nn.Linear(3, 3)))

    def initial(self, batch, device):
        return ()

    def forward(self, observation, memory):
        logits = {name: head(observation['shown'])
                  for name, head in self.heads.items()}
        return (FactoredCategorical(logits, observation['action_mask']), None,
                memory)


def test_an_environment_that_knows_its_rewards_gives_them():
    environment = Knobs(7)
    episode = play(environment, KnobPolicy())
    assert episode.shape == (1, 7)
    assert episode.value is None
    assert episode.reward[0].equal(environment.worth(episode.action[0]))
    assert (episode.action['fine'] < 2).all()
    greedy = play(environment, KnobPolicy(), explore=False)
    assert greedy.log_prob.shape == (1, 7)


def test_rewards_that_come_later_are_added_later():
    environment, storage = Knobs(5, later=True), RolloutStorage()
    episode = play(environment, KnobPolicy())
    assert episode.reward is None
    with pytest.raises(ValueError, match='rewards of these episodes are not'):
        storage.add(episode)
    storage.add(episode.rewarded(environment.worth(episode.action[0])[None]))
    assert storage.gather(torch.device('cpu')).reward.shape == (1, 5)


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize(('trainer', 'updates'), [
    (GRPO(group_size=4, lr=3e-2, kl_coef=0.), 12),
    (REINFORCE(lr=1e-1), 60)], ids=['GRPO', 'REINFORCE'])
def test_heads_are_learnt_together(trainer, updates, seed):
    """0.67 + 0.5 right answers at random, 2 at best."""
    torch.manual_seed(seed)
    policy = KnobPolicy()
    trainer.bind(policy)
    for _ in range(updates):
        environment = Knobs(64)
        environment.want = environment.want.view(-1, 4)[:, :1].expand(
            -1, 4).flatten()  # groups of one sample
        trainer.update(play(environment, policy))
    environment = Knobs(500)
    chosen = play(environment, policy, explore=False)
    assert chosen.reward.mean() > 1.9


def test_ppo_without_a_critic_is_an_error():
    trainer = PPO()
    policy = KnobPolicy()
    trainer.bind(policy)
    with pytest.raises(ValueError, match='PPO learns a critic, but the policy'):
        trainer.update(play(Knobs(8), policy))
