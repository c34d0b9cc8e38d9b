"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that a process killed at any moment leaves the old or the
    new content, never a part.

    The content goes to a temporary file in the same folder, because a rename is
    atomic only inside one file system, and is flushed to the disk before it.
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
        os.chmod(temporary, 0o644)  # mkstemp's is readable by the owner only
        os.replace(temporary, path)
    except BaseException:  # KeyboardInterrupt as well
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
