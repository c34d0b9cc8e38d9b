"""Repairs for the OpenMMLab stack on a current torch, all in one place.

Each repair does nothing where it is not needed, and none imports torch before
something else would: ``import mmrlkd`` stays quick.
"""

import sys
from collections.abc import Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, distribution
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

#: Operators that torchvision's Python half decorates and its compiled half
#: declares. Where the compiled half does not load (a CUDA build of torchvision
#: beside a CPU-only torch), ``import torchvision`` dies on the first of them.
_TORCHVISION_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)

_declared_operators = None


def _declare_torchvision_operators() -> None:
    """Let ``import torchvision`` succeed without its compiled half.

    Transforms then work; torchvision's compiled operators do not, and nothing
    here calls them (mmcv brings its own nms and RoIAlign).
    """
    global _declared_operators
    spec = PathFinder.find_spec('torchvision')
    if spec is None or spec.origin is None:
        return
    import torch
    for compiled_half in Path(spec.origin).parent.glob('_C.*'):
        try:
            torch.ops.load_library(compiled_half)
        except OSError:
            continue
        return  # it declares its operators itself; twice would be an error
    # Kept: a Library takes its declarations back when it is collected.
    _declared_operators = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in _TORCHVISION_SCHEMAS:
        _declared_operators.define(schema)


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; notices when torchvision is first looked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname == 'torchvision':
            sys.meta_path.remove(self)
            _declare_torchvision_operators()
        return None


_before_torchvision = _BeforeTorchvision()


def _repair_torchvision_when_imported() -> None:
    if 'torchvision' in sys.modules or _declared_operators is not None:
        return
    if _before_torchvision not in sys.meta_path:
        sys.meta_path.insert(0, _before_torchvision)


def _name_packages_for_base_configs() -> None:
    """Make ``_base_ = 'mmseg::…'`` and ``'mmrlkd::…'`` resolve.

    mmengine knows a list of packages, to which this one is added, and looks
    for mmseg under the name of its upstream distribution. Where that is not
    installed, the module's own name finds the maintained fork.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    MODULE2PACKAGE['mmrlkd'] = 'mmrlkd'
    try:
        distribution(MODULE2PACKAGE['mmseg'])
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def _keep_scopes_of_own_configs() -> None:
    """Leave the types in ``_base_ = 'mmrlkd::…'`` to the default scope.

    mmengine takes what a package's config names for that package's own. The
    configs here name their own types with the prefix, and the rest are those
    of the task library that ``default_scope`` names.
    """
    from mmengine.config import Config
    original = Config._get_cfg_path
    if getattr(original, 'keeps_scopes', False):
        return

    @wraps(original)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = original(cfg_path, filename)
        return path, None if scope == 'mmrlkd' else scope

    get_cfg_path.keeps_scopes = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)


def checkpoint_without_reentry() -> None:
    """Let activation checkpointing keep gradients, and work under DDP.

    ``with_cp`` and mmengine's ``activation_checkpointing`` leave
    ``use_reentrant`` to torch. Its default is the old variant, which loses
    the gradients of what is given as a tuple or needs none itself, and fails
    in ``autograd.grad`` and where DDP looks for unused parameters. Who names
    a variant gets it.

    A torch with another default is left alone, and so is one repaired before.

    Needs torch, so ``import mmrlkd.distillation`` applies it.
    """
    import torch.utils.checkpoint as torch_checkpoint
    from mmengine.runner import activation_checkpointing
    original = torch_checkpoint.checkpoint
    default = signature(original).parameters['use_reentrant'].default
    if default is False or getattr(original, 'chooses_variant', False):
        return

    @wraps(original)
    def checkpoint(*args: Any, use_reentrant: bool | None = None,
                   **kwargs: Any) -> Any:
        return original(*args, use_reentrant=bool(use_reentrant), **kwargs)

    checkpoint.chooses_variant = True  # type: ignore[attr-defined]
    torch_checkpoint.checkpoint = checkpoint
    activation_checkpointing.checkpoint = checkpoint


def apply() -> None:
    """Apply the repairs that need no torch; called by ``import mmrlkd``."""
    _repair_torchvision_when_imported()
    _name_packages_for_base_configs()
    _keep_scopes_of_own_configs()
