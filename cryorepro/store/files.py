"""The few file operations whose order decides what survives a crash."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from cryorepro.store.errors import storage_error


def fsync_directory(directory: Path) -> None:
    """Make the names inside ``directory`` durable (a new file is not, until its directory is).

    Raises:
        OSError: as the system reports it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file that can be reached; one that may not be looked at is none."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte or raise: ``os.write`` may stop short of a full disk without an error."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: a reader sees the old file or the new one, also after a power cut.

    Raises:
        StoreError: the disk is full, read-only or failing; the old file is still there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise storage_error("write", path, error) from error
