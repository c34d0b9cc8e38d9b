"""MAML: the gradient through the adaptation.

Finn et al. 2017, https://arxiv.org/abs/1703.03400.
"""

from torch import Tensor

from mmrlkd.arguments import check_bool
from mmrlkd.registry import META_LEARNERS
from mmrlkd.rl.policy import PolicyModule

from .learner import Clone, MetaLearner
from .objectives import Objective
from .task import Task


@META_LEARNERS.register_module()
class MAML(MetaLearner):
    """The outer gradient is that of the adapted policy's loss by the weights
    before the adaptation::

        maml = MAML(policy, ExactReward())
        clone = maml.clone()
        for _ in range(5):
            clone.adapt(maml.objective(clone, support))
        maml.objective(clone, query).backward()   # into policy.parameters()

    The adaptation is a function of the weights alone: θ' = θ − α ∇E[loss]. With
    :class:`.ExactReward` the outer gradient is exact. With :class:`.DiCE` the
    derivatives of each step are unbiased, so that it converges to the exact one
    with the number of shots, and the outer episodes are played with the adapted
    policy; what the choice of the inner *samples* contributes is not credited
    (formulation II of Rothfuss et al. 2019, https://arxiv.org/abs/1810.06784).

    Args:
        policy: see :class:`.learner.MetaLearner`.
        objective: likewise.
        lr: likewise.
        meta_lr: likewise.
        steps: likewise.
        shots: likewise.
        max_grad_norm: likewise.
        first_order: leave out the second derivatives (FOMAML): the outer
            gradient is the one where the adaptation ends.
    """

    def __init__(self, policy: PolicyModule, objective: Objective,
                 lr: float = 1e-3, meta_lr: float = 1e-4, steps: int = 5,
                 shots: int = 100, max_grad_norm: float = 0.5,
                 first_order: bool = False) -> None:
        super().__init__(
            policy, objective, lr, meta_lr, steps, shots, max_grad_norm)
        self.first_order = check_bool('MAML', 'first_order', first_order)

    def meta_loss(self, clone: Clone, query: Task) -> Tensor:
        return self.objective(clone, query)
