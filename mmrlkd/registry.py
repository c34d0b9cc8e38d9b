"""One registry for each interface; members are imported when first used."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

#: Distillers: models that train a student with a teacher.
MODELS = Registry(
    'model', parent=MMENGINE_MODELS, locations=['mmrlkd.distillation'])
MODEL_WRAPPERS = Registry(
    'model_wrapper', parent=MMENGINE_MODEL_WRAPPERS,
    locations=['mmrlkd.engine'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, locations=['mmrlkd.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, locations=['mmrlkd.engine'])
#: Projects register in it as well, as ``mmrlkd.NAME``.
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, locations=['mmrlkd.datasets'])
#: Empty in this package; projects register in it. It names a location because
#: mmengine warns about registries without one.
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, locations=['mmrlkd.registry'])


class Family(Registry):
    """A registry without parent or children in other libraries.

    mmengine's ``build`` first switches to the registry of the default scope, in
    a run the task library's. No task library has one of these families, and
    mmengine would warn about that each time something is built.
    """

    @contextmanager
    def switch_scope_and_registry(
            self, scope: str | None) -> Iterator[Registry]:
        yield self


def _family(name: str, location: str) -> Family:
    return Family(name, scope='mmrlkd', locations=[location])


ADAPTERS = _family('adapter', 'mmrlkd.distillation.features.adapters')
CONNECTORS = _family('connector', 'mmrlkd.distillation.connectors')
LOSSES = _family('loss', 'mmrlkd.distillation.losses')
LOGIT_LOSSES = _family('logit loss', 'mmrlkd.distillation.logit_losses')
BALANCERS = _family('balancer', 'mmrlkd.distillation.weighting.balancers')
SELECTORS = _family('selector', 'mmrlkd.distillation.selection.selectors')
POLICIES = _family('policy', 'mmrlkd.distillation.selection.policies')
DESCRIPTORS = _family(
    'descriptor', 'mmrlkd.distillation.selection.descriptors')
REWARDS = _family('reward', 'mmrlkd.distillation.selection.rewards')
LEARNERS = _family('learner', 'mmrlkd.rl.algorithms')
META_LEARNERS = _family('meta-learner', 'mmrlkd.rl.meta')
STRATEGIES = _family('strategy', 'mmrlkd.search.strategies')
EXECUTORS = _family('executor', 'mmrlkd.search.executors')
KNOBS = _family('knob', 'mmrlkd.dynamic.knobs')
QUALITIES = _family('quality', 'mmrlkd.dynamic.quality')
