"""One stretch of a remote file, and where in the local file its bytes go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryorepro.workflow.fetch.ranges import Range, coalesced, merged, missing, split
from cryorepro.workflow.fetch.remote import RemoteStat


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes [start, end) of the remote file go to `local`."""

    start: int
    end: int
    local: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [start, end) of `stat`, read in one request; `copies` are disjoint and sorted, gaps are dropped."""

    stat: RemoteStat
    start: int
    end: int | None
    copies: tuple[Copy, ...]

    def placed(self, start: int, block: bytes) -> Iterator[tuple[int, memoryview]]:
        """Where the parts of a block that was read at `start` go."""
        view, end = memoryview(block), start + len(block)
        for copy in self.copies:
            first, last = max(start, copy.start), min(end, copy.end)
            if first < last:
                yield copy.local + first - copy.start, view[first - start : last - start]


def whole_file(stat: RemoteStat, done: Sequence[Range], piece_bytes: int) -> list[Piece]:
    """What is missing of a file that is copied as it is."""
    assert stat.size_bytes is not None
    gaps = missing(done, (0, stat.size_bytes))
    return [Piece(stat, a, b, (Copy(a, b, a),)) for a, b in split(gaps, piece_bytes)]


def selected(stat: RemoteStat, copies: Sequence[Copy], done: Sequence[Range], piece_bytes: int) -> list[Piece]:
    """Requests for selected parts of a file, neighbours joined; parts already in `done` are left out."""
    wanted = []
    for copy in copies:
        shift = copy.local - copy.start
        gaps = missing(done, (copy.local, copy.local + copy.end - copy.start))
        wanted += [Copy(a - shift, b - shift, a) for a, b in gaps]
    wanted.sort(key=lambda copy: copy.start)
    requests = list(split(coalesced(merged((c.start, c.end) for c in wanted)), piece_bytes))
    pieces, first = [], 0
    for start, end in requests:
        while first < len(wanted) and wanted[first].end <= start:
            first += 1
        inside = []
        for copy in wanted[first:]:
            if copy.start >= end:
                break
            low, high = max(copy.start, start), min(copy.end, end)
            inside.append(Copy(low, high, copy.local + low - copy.start))
        pieces.append(Piece(stat, start, end, tuple(inside)))
    return pieces
