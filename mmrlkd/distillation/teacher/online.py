"""The teacher: built from its own config, loaded and frozen."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmrlkd.arguments import check_bool
from mmrlkd.distillation.features.adapters import TaskAdapter, adapt
from mmrlkd.distillation.features.levels import (
    Level,
    check_level_names,
    choose_levels,
)
from mmrlkd.files import relative_to
from mmrlkd.registry import MODELS

from .cache import CachedPyramid, TeacherCache, read_settings
from .execution import AS_BUILT, Execution
from .lazy import LazyPyramid
from .weights import load_matching


def read_model_config(config: str | dict,
                      owner: str = 'teacher') -> ConfigDict:
    """The ``model`` of a config file, without its pretrained weights, so that
    building it downloads nothing.

    Args:
        config: path of a config, ``'library::path'``, or the dict itself.
        owner: whose it is, for messages.

    Raises:
        ValueError: the file does not exist or has no ``model``.
    """
    current = DefaultScope.get_current_instance()
    scope = 'mmdet' if current is None else current.scope_name
    if isinstance(config, str):
        library = config.partition('::')[0] if '::' in config else ''
        if library not in ('', 'mmrlkd'):
            scope = library
        try:
            # mmengine reads 'library::path' as a base config only.
            loaded = (
                Config.fromstring(f'_base_ = [{config!r}]', '.py')
                if '::' in config else Config.fromfile(config))
        except (FileNotFoundError, ImportError, ModuleNotFoundError) as error:
            where = '' if '::' in config else relative_to(config)
            raise ValueError(
                f'{owner}.config={config!r}{where} cannot be read ({error}); '
                "accepted: the path of a config, or 'mmdet::…' for one that a "
                'library ships.') from error
        if 'model' not in loaded:
            raise ValueError(
                f'{owner}.config={config!r} defines no model; accepted: the '
                f'config that the {owner} was trained with.')
        model = loaded.model
        # The config may be of another library than the student's.
        scope = loaded.get('default_scope', scope)
        # mmpretrain keeps the preprocessor beside the model.
        if 'data_preprocessor' in loaded:
            model.setdefault('data_preprocessor', loaded.data_preprocessor)
    else:
        model = ConfigDict(config)
    model = _buildable(model)
    # So that MODELS.build finds the library's classes in any default scope.
    model.setdefault('_scope_', scope)
    return model


def _buildable(node):
    """Drop ``pretrained`` and ``init_cfg`` of pretrained weights, and the
    ``_scope_`` that mmengine writes into what is inherited from ``mmrlkd::…``."""
    if isinstance(node, dict):
        kept = {
            key: _buildable(value)
            for key, value in node.items()
            if key != 'pretrained' and (key, value) != ('_scope_', 'mmrlkd')
            and not (key == 'init_cfg' and isinstance(value, dict)
                     and value.get('type') == 'Pretrained')
        }
        return type(node)(kept)
    if isinstance(node, list | tuple):
        return type(node)(_buildable(value) for value in node)
    return node


class Teacher(nn.Module):
    """A frozen model whose pyramid is computed on request.

    Args:
        config: see :func:`read_model_config`.
        checkpoint: its weights. None leaves them random, which is enough to
            inspect shapes; training refuses such a teacher.
        levels: names of its levels, one for each of the student's; None for
            those of the same names, see :meth:`align`.
        weights_key: key of the weights in the checkpoint, with their prefix, such
            as ``'ema_state_dict'`` or ``'model.teacher'``; needed if weights
            under several keys fit.
        trust_checkpoint: read a checkpoint that holds objects of any type,
            **which may run any code**. Files of tensors, and those that
            OpenMMLab publishes, do not need it.
        fold: see :class:`.execution.Execution`.
        dtype: likewise.
        channels_last: likewise.
        compile: likewise.
        stream: likewise.
        cache: folder, or settings, of a cache of its maps, see
            :class:`.cache.CacheSettings`; None for none.

    Attributes:
        execution: how it is run; as built, until :meth:`prepare`.
        wanted: the names in ``levels``.
        levels: levels that the student learns from, see :meth:`align`.
        cache: of its maps; None without one.
    """

    def __init__(self, config: str | dict, checkpoint: str | None,
                 levels: Sequence[str] | None = None,
                 weights_key: str | None = None,
                 trust_checkpoint: bool = False, fold: bool = True,
                 dtype: str = 'float32', channels_last: bool = False,
                 compile: bool = False, stream: bool = False,
                 cache: str | dict | None = None) -> None:
        super().__init__()
        check_bool('teacher', 'trust_checkpoint', trust_checkpoint)
        self._options = Execution(fold, dtype, channels_last, compile, stream)
        self.execution = AS_BUILT
        self.config = read_model_config(config)
        self.cache = None if cache is None else TeacherCache(
            read_settings(cache), self.config)
        self.checkpoint = checkpoint
        self.model = MODELS.build(self.config)
        self.adapter = adapt(self.model, 'teacher')
        self.wanted = (None if levels is None else
                       check_level_names(levels, 'teacher.levels'))
        self.levels: tuple[Level, ...] = ()
        if checkpoint is not None:
            load_matching(self.model, checkpoint, weights_key, trust_checkpoint)
        self.requires_grad_(False)
        self.train(False)  # eval() calls train(), which is overridden below

    @property
    def available(self) -> dict[str, Level]:
        """All its levels by name."""
        return self.adapter.levels

    def train(self, mode: bool = True) -> 'Teacher':
        """Stays in eval mode, whatever mode the distiller is in."""
        return super().train(False)

    def align(self, student: Sequence[Level], names: Sequence[str] | None
              ) -> tuple[Level, ...]:
        """Choose the levels that a student's levels learn from.

        The partner of a level is the teacher's level of the same name or, if the
        teacher has no neck, its stage of the same number.

        Args:
            student: its levels, finest first.
            names: ``levels`` of the config, which must have partners; None drops
                levels without a partner.

        Returns:
            The student's levels that have a partner.

        Raises:
            ValueError: a level has no partner, or ``teacher.levels`` do not
                match ``levels``.
        """
        if self.wanted is not None:
            if names is None or len(self.wanted) != len(names):
                raise ValueError(
                    f'teacher.levels={list(self.wanted)} beside levels='
                    f"{list(names) if names else None}; accepted: one of the "
                    "teacher's levels for each name in levels, which must be "
                    'given, too.')
            self.levels = choose_levels(
                self.adapter, self.wanted, 'teacher.levels')
            return tuple(student)
        # '' + 'P3' is no level name; with a neck only equal names are partners.
        kind = '' if self.adapter.neck is not None else 'C'
        partners = [
            self.available.get(level.name)
            or self.available.get(kind + level.name[1:]) for level in student]
        missing = [level.name for level, partner in zip(
            student, partners, strict=True) if partner is None]
        self.levels = tuple(filter(None, partners))
        if missing and (names is not None or not self.levels):
            raise ValueError(
                f"levels names {', '.join(missing)}, for which the teacher "
                f'({type(self.model).__name__}) has no partner; accepted: '
                f"{', '.join(self.available)}, or, in teacher.levels, one of "
                'these for each of levels.')
        return tuple(level for level in student if level.name not in missing)

    def check_fits(self, student: TaskAdapter) -> None:
        """Refuse a student of another task or with other normalised images:
        the teacher gets the images that the student's preprocessor made.

        Raises:
            ValueError: they do not fit.
        """
        if self.adapter.task != student.task:
            raise ValueError(
                f'teacher is a model for {self.adapter.task}; accepted: '
                f"one for {student.task}, the student's task.")
        # The libraries' preprocessors name the order of the colours differently:
        # mmpretrain `to_rgb`, the others, as mmengine, `_channel_conversion`.
        for key in ('mean', 'std', '_channel_conversion', 'to_rgb'):
            mine, other = (
                _plain(getattr(getattr(model, 'data_preprocessor', None), key,
                               None)) for model in (student.model, self.model))
            if mine != other:
                raise ValueError(
                    f'teacher.config: data_preprocessor.{key.strip("_")} is '
                    f"{other}, the student's is {mine}; accepted: a teacher "
                    'trained on the same normalisation.')

    def require_weights(self) -> None:
        """Refuse to train with random weights.

        Raises:
            ValueError: no checkpoint was given.
        """
        if self.checkpoint is None:
            raise ValueError(
                'teacher.checkpoint is None; accepted for training: the path '
                "of the teacher's checkpoint.")

    def prepare(self, head: bool) -> None:
        """Make the model cheap to run, as the options say. Weights can no longer
        be loaded afterwards.

        Args:
            head: whether its head will run, too.

        Raises:
            ValueError: the model does not take an option.
        """
        self._options.prepare(self.adapter, bool(self.levels), head)
        self.execution = self._options

    def extract(self, images: Tensor, head: bool = False) -> LazyPyramid:
        """The pyramid of a batch; computes nothing yet.

        Args:
            images: (B, 3, H, W), preprocessed.
            head: whether the head will run for them.
        """
        if self.cache is None or not self.cache.store.readable:
            return LazyPyramid(
                self.adapter, self.levels, images, self.execution, head)
        entries = self.cache.entries(self.model, self.execution, images)
        return CachedPyramid(
            self.adapter, self.levels, images, self.execution, entries, head)


def _plain(value: Any) -> Any:
    return (value.float().flatten().tolist()
            if isinstance(value, Tensor) else value)
