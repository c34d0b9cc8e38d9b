"""``model.teacher.cache`` of a config."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mmrlkd.arguments import check_choice, check_number, refuse

OWNER = 'teacher'
#: How maps can be stored.
DTYPES = ('bfloat16', 'exact')


@dataclass(frozen=True)
class CacheSettings:
    """Where the teacher's maps are kept, and how.

    Attributes:
        path: folder of the cache.
        size_gb: largest size of its file, in 10⁹ bytes.
        dtype: ``'bfloat16'`` halves float32 maps; the student then learns from
            the rounded maps whether they were in the cache or not, so that its
            training does not depend on what the cache held. ``'exact'`` stores
            them as the teacher computes them. Logits and scores are exact in
            both.
    """
    path: Path
    size_gb: float = 20.0
    dtype: str = 'bfloat16'


def read_settings(cache: str | Path | Mapping[str, Any]) -> CacheSettings:
    """The settings that a config gives.

    Args:
        cache: a folder, or a dict of the fields of :class:`CacheSettings`.

    Raises:
        ValueError: a value that cannot work, or a package that is missing.
    """
    given = dict(cache) if isinstance(cache, Mapping) else {'path': cache}
    names = [field.name for field in fields(CacheSettings)]
    if not {'path'} <= set(given) <= set(names):
        refuse(OWNER, 'cache', dict(given),
               f"a folder, or dict(path='…') with any of {', '.join(names)}")
    path = given.pop('path')
    if not isinstance(path, str | Path) or not str(path):
        refuse(OWNER, 'cache.path', path, "a folder, such as 'work_dirs/cache'")
    settings = CacheSettings(Path(path), **given)
    check_number(OWNER, 'cache.size_gb', settings.size_gb, 0, open='low')
    check_choice(OWNER, 'cache.dtype', settings.dtype, DTYPES)
    if settings.path.exists() and not settings.path.is_dir():
        refuse(OWNER, 'cache.path', str(path), 'a folder, or one to be made')
    try:
        import lmdb  # noqa: F401
        import xxhash  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'{OWNER}.cache={str(path)!r} needs a package that cannot be '
            f'imported ({error}); accepted: None, or what pip install '
            'mmrlkd[cache] installs.') from error
    return settings
