"""The teacher's maps, kept on the disk and found again by content."""

from .cache import Counts, TeacherCache, bytes_of
from .pyramid import CachedPyramid
from .settings import CacheSettings, read_settings

__all__ = ['CacheSettings', 'CachedPyramid', 'Counts', 'TeacherCache',
           'bytes_of', 'read_settings']
