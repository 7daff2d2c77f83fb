"""What the store raises. Every message is one sentence that names the file."""

from __future__ import annotations

import os
from pathlib import Path


class StoreError(RuntimeError):
    """The store cannot be read or written: disk full, read-only, wrong filesystem, wrong schema."""


class EventError(StoreError):
    """An event holds something a journal cannot keep (NaN, an object unknown to JSON)."""


class RunLockedError(StoreError):
    """Another process has the run's journal open for writing."""


class JournalError(StoreError):
    """A journal or a seal on disk is not what was written: the run cannot be verified."""


def describe(error: OSError) -> str:
    """The reason of an OSError in words, without its path (callers name the file themselves)."""
    return os.strerror(error.errno) if error.errno else str(error)


def storage_error(action: str, path: Path, error: OSError) -> StoreError:
    """A :class:`StoreError` saying that ``action`` (as in "write") failed on ``path``, and why."""
    return StoreError(f"cannot {action} {path}: {describe(error)}")
