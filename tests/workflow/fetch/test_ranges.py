"""Ranges and pieces against sets of single bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cryorepro.workflow.fetch.pieces import Copy, selected
from cryorepro.workflow.fetch.ranges import Range, coalesced, length, merged, missing, split
from cryorepro.workflow.fetch.remote import RemoteStat

RANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda r: (r[0], r[0] + r[1])), max_size=20)


def as_set(ranges: list[Range]) -> set[int]:
    return {byte for start, end in ranges for byte in range(start, end)}


@given(RANGES)
def test_merged_ranges_are_the_same_bytes_sorted_and_apart(ranges: list[Range]) -> None:
    result = merged(ranges)
    assert as_set(result) == as_set(ranges) and length(result) == len(as_set(ranges))
    assert all(left[1] < right[0] for left, right in zip(result, result[1:], strict=False))


@given(RANGES, st.integers(0, 100), st.integers(0, 300))
def test_missing_is_the_complement(done: list[Range], start: int, size: int) -> None:
    wanted = (start, start + size)
    assert as_set(missing(done, wanted)) == as_set([wanted]) - as_set(done)


@given(RANGES, st.integers(1, 50))
def test_splitting_loses_nothing(ranges: list[Range], piece: int) -> None:
    cut = list(split(merged(ranges), piece))
    assert as_set(cut) == as_set(ranges) and all(0 < end - start <= piece for start, end in cut)


@given(RANGES, st.floats(0, 1), st.integers(0, 100))
def test_joining_keeps_within_the_allowance(ranges: list[Range], waste: float, gap: int) -> None:
    result = coalesced(ranges, waste, gap)
    needed = as_set(ranges)
    assert needed <= as_set(result)
    assert length(result) - len(needed) <= waste * len(needed)
    assert len(result) <= max(1, len(merged(ranges)))


@given(
    st.lists(st.integers(0, 60), unique=True, min_size=1, max_size=30), st.integers(1, 7), RANGES, st.integers(1, 64)
)
def test_selected_images_land_where_they_belong(
    images: list[int], image_bytes: int, done: list[Range], piece: int
) -> None:
    """Every byte that is not there yet is copied exactly once, from its own place."""
    copies = [Copy(n * image_bytes, (n + 1) * image_bytes, 10 + i * image_bytes) for i, n in enumerate(images)]
    remote = bytes(n % 251 for n in range(61 * 7 + 7))
    local: dict[int, int] = {}
    stat = RemoteStat("x", len(remote), None, None, True)
    for part in selected(stat, copies, done, piece):
        assert part.end is not None
        for place, view in part.placed(part.start, remote[part.start : part.end]):
            for i, byte in enumerate(view):
                assert place + i not in local
                local[place + i] = byte
    wanted = {c.local + i: remote[c.start + i] for c in copies for i in range(image_bytes)}
    assert local == {place: byte for place, byte in wanted.items() if place not in as_set(done)}
