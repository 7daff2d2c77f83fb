"""Write a file so that a reader sees the old bytes or the new ones, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file beside `path` that replaces `path` when the block ends without an error.

    The parent directory must exist. The bytes are flushed to disk before the rename, so a crash leaves
    either version whole.

    Raises:
        OSError: The directory is missing or not writable, or the disk is full.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; what we write is meant to be read under the user's own umask.
        Path(temporary).chmod(0o666 & ~_current_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _current_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
