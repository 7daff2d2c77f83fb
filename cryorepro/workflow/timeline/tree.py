"""The process tree below one process, and what it has used."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from cryorepro.workflow.timeline.kernel import text_of

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
GROWING = ("cpu_seconds", "minor_faults", "major_faults", "read_bytes", "written_bytes", "read_calls_bytes")


@dataclass
class Use:
    """Levels of the tree now, and the growth of its counters since it was first looked at.

    What a process used between the last look and its end is missed; it is at most one period's worth.
    """

    memory_bytes: int = 0
    processes: int = 0
    threads: int = 0
    blocked: int = 0
    pids: set[int] = field(default_factory=set)
    totals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GROWING, 0.0))


class Tree:
    """Follows the descendants of ``root``, and with ``with_root`` itself.

    ``without`` and its descendants are somebody else's.
    """

    def __init__(self, root: int, without: frozenset[int] = frozenset(), with_root: bool = False) -> None:
        self._root = root
        self._first = [root] if with_root else []
        self._without = without
        self._last: dict[tuple[int, str], tuple[float, ...]] = {}
        self._totals = dict.fromkeys(GROWING, 0.0)

    def look(self) -> Use:
        """The tree now. A process seen for the first time counts from its beginning."""
        use = Use()
        seen: dict[tuple[int, str], tuple[float, ...]] = {}
        for pid in [*self._first, *descendants(self._root, self._without)]:
            found = _process(pid)
            if found is None:
                continue
            start, threads, memory, state, counters = found
            key = (pid, start)
            before = self._last.get(key, (0.0,) * len(GROWING))
            for name, now, then in zip(GROWING, counters, before, strict=True):
                self._totals[name] += max(0.0, now - then)
            seen[key] = counters
            use.memory_bytes += memory
            use.processes += 1
            use.threads += threads
            use.blocked += state == "D"
            use.pids.add(pid)
        self._last = seen
        use.totals = dict(self._totals)
        return use


def descendants(root: int, without: frozenset[int] = frozenset()) -> list[int]:
    """Processes below ``root``, without ``root`` itself, by the kernel's own lists of children."""
    found: list[int] = []
    pending = [root]
    while pending:
        pid = pending.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are enough, every second
                children = [int(word) for word in (text_of(f"/proc/{pid}/task/{task}/children") or "").split()]
                fresh = [child for child in children if child not in without]
                found += fresh
                pending += fresh
    return found


def _process(pid: int) -> tuple[str, int, int, str, tuple[float, ...]] | None:
    """Start time, threads, resident bytes, state and counters (in the order of GROWING); None when it has ended."""
    stat = text_of(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    minor, major, user, system = (int(fields[place]) for place in (7, 9, 11, 12))
    lines = (line.partition(": ") for line in (text_of(f"/proc/{pid}/io") or "").splitlines())
    io = {name: int(value) for name, _, value in lines}
    read, written, calls = (float(io.get(name, 0)) for name in ("read_bytes", "write_bytes", "rchar"))
    counters = ((user + system) / _TICKS, float(minor), float(major), read, written, calls)
    return fields[19], int(fields[17]), int(fields[21]) * _PAGE, fields[0], counters
