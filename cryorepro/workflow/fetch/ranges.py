"""Arithmetic of byte ranges: half-open intervals [start, end), sorted and disjoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Range = tuple[int, int]


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Sorted, with overlapping and touching ranges joined; empty ones dropped."""
    result: list[Range] = []
    for start, end in sorted(r for r in ranges if r[1] > r[0]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def missing(done: Iterable[Range], wanted: Range) -> list[Range]:
    """What of `wanted` is not in `done`."""
    position, end = wanted
    gaps = []
    for start, stop in merged(done):
        if stop <= position or start >= end:
            continue
        if start > position:
            gaps.append((position, start))
        position = max(position, stop)
    if position < end:
        gaps.append((position, end))
    return gaps


def length(ranges: Iterable[Range]) -> int:
    """Number of bytes."""
    return sum(end - start for start, end in ranges)


def split(ranges: Iterable[Range], piece: int) -> Iterator[Range]:
    """Cut ranges so that none is longer than `piece`."""
    for start, end in ranges:
        for cut in range(start, end, piece):
            yield cut, min(cut + piece, end)


def coalesced(ranges: Iterable[Range], waste: float = 0.1, gap: int = 64 << 10) -> list[Range]:
    """Join neighbours across small gaps, smallest first: fewer requests for at most `waste` more bytes.

    Args:
        ranges: What is needed.
        waste: Bytes read in vain, as a share of the bytes needed.
        gap: The longest gap that may be read over.
    """
    needed = merged(ranges)
    budget = int(waste * length(needed))
    gaps = sorted((right[0] - left[1], i) for i, (left, right) in enumerate(zip(needed, needed[1:], strict=False)))
    closed = set()
    for size, index in gaps:
        if size > gap or size > budget:
            break
        budget -= size
        closed.add(index)
    result: list[Range] = []
    for i, (start, end) in enumerate(needed):
        if i and i - 1 in closed:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result
