"""Does what was learnt on other tasks help on a new one? One left out at a time."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmrlkd.config.meta import build_learner
from mmrlkd.distillation.selection.recorded import RecordedEnvironment
from mmrlkd.registry import STRATEGIES
from mmrlkd.rl.meta import ExactReward, MetaLearner, descend

from .results import save_table

RESULTS = Path(__file__).parent / 'results'
TABLE = RESULTS / 'meta_learning.csv'
#: Gradient steps on a new task after which its regret is measured.
UPDATES = (0, 1, 5, 20, 50)
#: Learning rates of these steps, of which each policy takes the one that is best for
#: the tasks that it was learnt from, after the updates ``JUDGED``.
RATES = (0.3, 1.0, 3.0)
JUDGED = (5, 20)
#: Subsets that the search for a fixed one tries: as many as the 5 updates use images.
TRIED = 5
SCRATCH, JOINT = 'scratch', 'joint'
RANDOM, SEARCHED, ENUMERATED, BEST = (
    'random', 'fixed, searched', 'fixed, enumerated', 'fixed, in hindsight')
FIXED = (RANDOM, SEARCHED, ENUMERATED, BEST)


@dataclass(frozen=True)
class Settings:
    """What all policies of the study share.

    Attributes:
        policy: config of the policy.
        shots: images of a new task.
        iterations: outer steps, of joint training as of the others.
        lr: of the inner steps.
        meta_lr: of the outer steps.
        steps: inner steps.
    """
    policy: Mapping[str, Any]
    shots: int = 100
    iterations: int = 30
    lr: float = 0.3
    meta_lr: float = 1e-2
    steps: int = 5

    def identity(self, digests: Mapping[str, str]) -> str:
        """Tells the rows of these settings and recordings from others."""
        text = json.dumps([asdict(self), RATES, JUDGED, dict(digests)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def learners(self) -> dict[str, dict[str, Any] | None]:
        """Configs by name; None learns from no other task."""
        shared = dict(meta_lr=self.meta_lr, shots=self.shots)
        inner = dict(**shared, lr=self.lr, steps=self.steps)
        return {
            'MAML': dict(type='mmrlkd.MAML', **inner),
            'FOMAML': dict(type='mmrlkd.MAML', first_order=True, **inner),
            'Reptile': dict(type='mmrlkd.Reptile', **inner),
            # Without an adaptation the meta-gradient is the joint one.
            JOINT: dict(type='mmrlkd.MAML', first_order=True, **shared, lr=0.,
                        steps=1),
            SCRATCH: None,
        }


def run(tasks: Mapping[str, RecordedEnvironment], settings: Settings,
        seeds: Sequence[int], digest: str, table: Path,
        report: Callable[[str], None]) -> pd.DataFrame:
    """Measure what the table lacks, and write it after each task and seed.

    Args:
        tasks: by name, each left out once.
        settings: of the policies.
        seeds: each draws the first weights, the shots and the meta-batches.
        digest: tells settings and recordings from others.
        table: the file of the results.
        report: told what was measured.

    Returns:
        The rows of the settings and recordings.
    """
    rows = load_rows(table)
    for seed in seeds:
        for left_out in tasks:
            same = rows[(rows.digest == digest) & (rows.seed == seed)
                        & (rows.left_out == left_out)]
            if len(same):
                continue
            new = measure(tasks, left_out, settings, seed)
            rows = pd.concat([rows, new.assign(digest=digest)],
                             ignore_index=True) if len(rows) else new.assign(
                                 digest=digest)
            save_table(rows, table)
            report(f'{left_out} left out, seed {seed}')
    return rows[rows.digest == digest]


def load_rows(table: Path) -> pd.DataFrame:
    """The file's, or none."""
    if table.is_file():
        return pd.read_csv(table, dtype=dict(digest=str))
    return pd.DataFrame(columns=['left_out', 'seed', 'method', 'updates', 'lr',
                                 'regret', 'digest'])


def measure(tasks: Mapping[str, RecordedEnvironment], left_out: str,
            settings: Settings, seed: int) -> pd.DataFrame:
    """Regrets on the images of a task that nothing was adapted to."""
    others = {name: task for name, task in tasks.items() if name != left_out}
    support, rest = divide(tasks[left_out], settings.shots, seed)
    rows = [dict(method=method, updates=0, lr=np.nan, regret=regret)
            for method, regret in fixed_regrets(support, rest, seed).items()]
    for method, config in settings.learners.items():
        learner = build_learner(
            settings.policy, config or settings.learners[JOINT] or {}, seed)
        if config is not None:
            learn(learner, list(others.values()), settings.iterations, seed)
        rate = choose_rate(learner, others, settings.shots, seed)
        rows += [dict(method=method, updates=updates, lr=rate, regret=regret)
                 for updates, regret in adapt(
                     learner, support, rest, rate, UPDATES).items()]
    return pd.DataFrame(rows).assign(left_out=left_out, seed=seed)


def learn(learner: MetaLearner, tasks: Sequence[RecordedEnvironment],
          iterations: int, seed: int) -> None:
    """So many outer steps."""
    torch.manual_seed(seed)
    for i in range(iterations):
        learner.set_progress(i / iterations)
        learner.update(tasks)


def divide(task: RecordedEnvironment, shots: int, seed: int
           ) -> tuple[RecordedEnvironment, RecordedEnvironment]:
    """The images that are adapted to, and the others."""
    order = torch.randperm(
        task.batch_size, generator=torch.Generator().manual_seed(seed))
    return task.take(order[:shots]), task.take(order[shots:])


def adapt(learner: MetaLearner, support: RecordedEnvironment,
          rest: RecordedEnvironment, rate: float, updates: Sequence[int]
          ) -> dict[int, float]:
    """Mean regret on ``rest`` after so many updates on ``support``."""
    policy = copy.deepcopy(learner.policy.fitted(support))
    names = [name for name, _ in learner.policy.named_parameters()]
    regrets, done = {}, 0
    for count in updates:
        descend(policy, lambda each: ExactReward()(each, support), rate,
                count - done, names)
        regrets[count], done = float(rest.regret(policy).mean()), count
    return regrets


def choose_rate(learner: MetaLearner, tasks: Mapping[str, RecordedEnvironment],
                shots: int, seed: int) -> float:
    """The rate with the smallest mean regret on tasks that are known."""
    divided = [divide(task, shots, seed) for task in tasks.values()]
    return min(RATES, key=lambda rate: sum(
        sum(adapt(learner, *parts, rate, JUDGED).values())
        for parts in divided))


def fixed_regrets(support: RecordedEnvironment, rest: RecordedEnvironment,
                  seed: int) -> dict[str, float]:
    """Mean regrets on ``rest`` of choices that look at no image.

    ``random`` draws each subset equally often. The searched subset is the best
    on ``support`` of some that random search tries, the enumerated one of all;
    the one in hindsight is the best on ``rest`` itself.
    """
    each = rest.returns.amax(-1, keepdim=True) - rest.returns
    regret = dict(zip(rest.tree.outcomes.tolist(), each.mean(0).tolist(),
                      strict=True))
    earned = dict(zip(support.tree.outcomes.tolist(),
                      support.returns.mean(0).tolist(), strict=True))
    strategy = STRATEGIES.build(
        dict(type='mmrlkd.RandomSearch', evaluations=TRIED))
    strategy.bind(support.space, seed)
    searched = max(strategy.order(seed), key=lambda subset: earned[subset])
    return {
        RANDOM: float(np.mean(list(regret.values()))),
        SEARCHED: regret[searched],
        ENUMERATED: regret[max(earned, key=lambda subset: earned[subset])],
        BEST: min(regret.values()),
    }
