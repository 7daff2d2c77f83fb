"""Where fetched bytes lie: a folder per dataset, with a record of each file, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryorepro.store.errors import storage_error
from cryorepro.workflow.fetch.errors import FetchError
from cryorepro.workflow.fetch.manifest import FileRecord, RecordReader, append_record, safe_path

RECORDS = "files.jsonl"
DEPOSIT, MAPS, SUBSETS = "deposit", "maps", "subsets"
_POLL_S = 0.1


@dataclass(frozen=True)
class Cache:
    """The cached files of one dataset, below `root`.

    ``deposit/`` mirrors the archive entry, ``maps/`` holds EMDB and PDB files, ``subsets/`` what was made from parts
    of the deposit. Hidden files are partial ones, their journals, and locks.
    """

    root: Path
    _reader: RecordReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reader", RecordReader(self.root / RECORDS))

    def path(self, relative: str) -> Path:
        """Where a file lies. Raises InputError if the path would leave the cache."""
        return self.root / safe_path(relative)

    def records(self) -> dict[str, FileRecord]:
        """What was ever fetched, by path."""
        return self._reader.read()

    def record(self, relative: str, size_bytes: int, sha256: str, source: str) -> FileRecord:
        """Write down a file that is complete."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = FileRecord(relative, size_bytes, sha256, source, now)
        with self.lock(RECORDS):
            append_record(self.root / RECORDS, entry)
        return entry

    def present(self, relative: str) -> FileRecord | None:
        """The record of a file that is there with its recorded size."""
        found, path = self.records().get(relative), self.path(relative)
        there = found is not None and path.is_file() and path.stat().st_size == found.size_bytes
        return found if there else None

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of one file; a second process waits, and `waiting` is called once when it has to.

        Raises:
            StoreError: the cache cannot be written.
        """
        folder = self.root / ".locks"
        path = folder / hashlib.sha256(name.encode()).hexdigest()[:24]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
        except OSError as error:
            raise storage_error("write", path, error) from error
        with handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                        waiting = None
                    time.sleep(_POLL_S)
                except OSError as error:
                    raise FetchError(f"{path}: this filesystem has no locks ({error.strerror})") from error
            yield
