"""Repairs for the OpenMMLab stack on a current torch.

Each does nothing where it is not needed. Those of :func:`apply` do not import
torch, so that ``import mmrlkd`` stays fast.
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

#: Operators that torchvision's compiled library declares and its Python code
#: registers fake kernels for. If the library does not load (a CUDA build of
#: torchvision beside a CPU build of torch), ``import torchvision`` fails with
#: "operator torchvision::nms does not exist".
_TORCHVISION_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)

_declared_operators = None


def _declare_torchvision_operators() -> None:
    """Let ``import torchvision`` succeed without its compiled library.

    Transforms then work. The compiled operators do not, but nothing here calls
    them: mmcv has its own nms and RoIAlign.
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
        return  # it has declared its operators; declaring twice is an error
    # Kept in a global: a Library that is garbage-collected undoes its
    # declarations.
    _declared_operators = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in _TORCHVISION_SCHEMAS:
        _declared_operators.define(schema)


class _BeforeTorchvision(MetaPathFinder):
    """Finds no module; declares the operators when torchvision is imported."""

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

    mmengine resolves ``scope::path`` by a table from scopes to distributions,
    which does not list this package and has mmseg's upstream distribution. If
    that is not installed, the maintained fork is found by the module's name.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    MODULE2PACKAGE['mmrlkd'] = 'mmrlkd'
    try:
        distribution(MODULE2PACKAGE['mmseg'])
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def _keep_scopes_of_own_configs() -> None:
    """Leave the types in ``_base_ = 'mmrlkd::…'`` to the default scope.

    mmengine writes ``_scope_='mmrlkd'`` into what it inherits from this
    package, and would then look up mmdet's types in this package. The configs
    here name this package's types with the prefix ``mmrlkd.``; all other types
    are those of the task library that ``default_scope`` names.
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

    ``with_cp`` and mmengine's ``activation_checkpointing`` do not pass
    ``use_reentrant`` to torch, whose default is the older, reentrant variant.
    That loses the gradients of inputs that are tuples or need no gradient
    themselves, and fails in ``autograd.grad`` and under DDP's
    ``find_unused_parameters`` (notes of ``torch.utils.checkpoint``). Callers
    that pass ``use_reentrant`` get what they ask for.

    Needs torch, so ``import mmrlkd.distillation`` applies it.
    """
    import torch.utils.checkpoint as torch_checkpoint
    from mmengine.runner import activation_checkpointing
    original = torch_checkpoint.checkpoint
    default = signature(original).parameters['use_reentrant'].default
    # Not needed with a torch of another default, nor a second time.
    if default is False or getattr(original, 'chooses_variant', False):
        return

    @wraps(original)
    def checkpoint(*args: Any, use_reentrant: bool | None = None,
                   **kwargs: Any) -> Any:
        return original(*args, use_reentrant=bool(use_reentrant), **kwargs)

    checkpoint.chooses_variant = True  # type: ignore[attr-defined]
    torch_checkpoint.checkpoint = checkpoint
    # mmengine imported the function by name.
    activation_checkpointing.checkpoint = checkpoint


def apply() -> None:
    """Apply the repairs that need no torch; called by ``import mmrlkd``."""
    _repair_torchvision_when_imported()
    _name_packages_for_base_configs()
    _keep_scopes_of_own_configs()
