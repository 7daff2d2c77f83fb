"""A partial file with its journal: opened where an earlier attempt stopped, filled, moved into place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.store.errors import storage_error
from cryorepro.store.files import fsync_directory
from cryorepro.workflow.fetch.assemble import Assembly, Ledger
from cryorepro.workflow.fetch.journal import Entry, JournalWriter, covered, intact, read_journal
from cryorepro.workflow.fetch.pieces import Piece
from cryorepro.workflow.fetch.ranges import Range, length
from cryorepro.workflow.fetch.space import require_space
from cryorepro.workflow.fetch.transfer import Transfer

Same = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Partial:
    """The files beside `target` that hold an unfinished transfer."""

    target: Path

    @property
    def data(self) -> Path:
        """The bytes so far; its length is already that of the whole."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def journal(self) -> Path:
        """Which of them are there."""
        return self.target.with_name(f".{self.target.name}.ranges")

    def resume(self, same: Same) -> list[Entry]:
        """What an earlier attempt left and is still good; none when it belonged to another file (`same` says)."""
        found = read_journal(self.journal)
        if found is None or not self.data.is_file() or not same(found[0]):
            return []
        return intact(self.data, found[1])

    def discard(self) -> None:
        """Forget what was fetched."""
        self.data.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def finish(self) -> None:
        """Move the complete, synced bytes into place; a reader sees nothing or everything."""
        self.data.replace(self.target)
        fsync_directory(self.target.parent)
        self.journal.unlink(missing_ok=True)


def fill(
    partial: Partial,
    transfer: Transfer,
    header: dict[str, Any],
    same: Same,
    size_bytes: int | None,
    plan: Callable[[Sequence[Range]], list[Piece]],
) -> None:
    """Fetch what is missing of a partial file.

    Args:
        partial: The file.
        transfer: Connections, limits and meter.
        header: What the journal says of where the bytes come from.
        same: Whether another journal's header means the same bytes.
        size_bytes: Length of the whole; None when the server does not say.
        plan: The pieces to fetch, given the ranges that are there.

    Raises:
        FetchError: a piece cannot be had, or the disk has no room; what came is kept.
        StoreError: the disk cannot be written.
    """
    entries = partial.resume(same)
    done = covered(entries)
    transfer.meter.found(length(done))
    settings = transfer.settings
    if size_bytes is not None:
        require_space(partial.target.parent, size_bytes - length(done), settings.reserve_bytes, partial.target.name)
    pieces = plan(done)
    with _opened(partial.data, size_bytes, bool(entries)) as (descriptor, open_files):
        journal = None
        if size_bytes is not None:
            journal = JournalWriter(partial.journal, descriptor, header, entries)
            open_files.append(journal.close)
        ledger = Ledger(journal, settings.commit_s)
        for group in _by_transport(transfer, pieces):
            transport = transfer.transport(group[0].stat.url)
            assembly = Assembly(transport, settings, transfer.limiter, transfer.meter, descriptor, ledger)
            try:
                assembly.run(group)
            except OSError as error:
                raise storage_error("write", partial.data, error) from error
            finally:
                if assembly.abandoned:
                    open_files.clear()
        os.fsync(descriptor)


def _by_transport(transfer: Transfer, pieces: Sequence[Piece]) -> list[list[Piece]]:
    groups: dict[int, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(id(transfer.transport(piece.stat.url)), []).append(piece)
    return list(groups.values())


@contextlib.contextmanager
def _opened(path: Path, size_bytes: int | None, resumed: bool) -> Iterator[tuple[int, list[Callable[[], None]]]]:
    """The partial file open for writing, of full length at once (sparse, so the length costs no room).

    Gives its descriptor and what is to be closed at the end. A connection that could not be stopped may still
    write: then nothing is closed, for that would hand the descriptor's number to another file.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if resumed else os.O_TRUNC)
        descriptor = os.open(path, flags, 0o644)
        os.ftruncate(descriptor, size_bytes or 0)
    except OSError as error:
        raise storage_error("write", path, error) from error
    open_files: list[Callable[[], None]] = [lambda: os.close(descriptor)]
    try:
        yield descriptor, open_files
    finally:
        for close in reversed(open_files):
            close()
