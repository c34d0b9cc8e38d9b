"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that, killed at any moment, the old or the new stands.

    The content goes to a temporary file beside it, reaches the disk, and
    takes the name in one step.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class AtomicLocalBackend(LocalBackend):
    """mmengine's local storage, writing every file atomically."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path,
                 encoding: str = 'utf-8') -> None:
        write_atomically(filepath, obj.encode(encoding))


register_backend('mmrlkd_atomic', AtomicLocalBackend, force=True)
