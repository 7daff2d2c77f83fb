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
    """Levels of the tree now, and the growth of its counters since it was first looked at."""

    memory_bytes: int = 0
    processes: int = 0
    threads: int = 0
    blocked: int = 0
    pids: set[int] = field(default_factory=set)
    totals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GROWING, 0.0))


class Tree:
    """Follows the descendants of ``root``, and with ``with_root`` itself.

    ``without`` and its descendants are somebody else's. What a process used before it ended is counted through the
    parent that reaped it, as the kernel keeps it: workers that live for less than a period are not missed.
    """

    def __init__(self, root: int, without: frozenset[int] = frozenset(), with_root: bool = False) -> None:
        self._root = root
        self._first = [root] if with_root else []
        self._without = without
        self._last = (0.0,) * len(GROWING)
        self._totals = dict.fromkeys(GROWING, 0.0)

    def look(self) -> Use:
        """The tree now. A process seen for the first time counts from its beginning."""
        use = Use()
        # Orphans of the stage are reaped by the root; what it used itself counts only when it is followed.
        root = None if self._first else _process(self._root)
        level = root.of_reaped if root else (0.0,) * len(GROWING)
        for pid in [*self._first, *descendants(self._root, self._without)]:
            found = _process(pid)
            if found is None:
                continue
            level = tuple(map(sum, zip(level, found.own, found.of_reaped, strict=True)))
            use.memory_bytes += found.memory_bytes
            use.processes += 1
            use.threads += found.threads
            use.blocked += found.state == "D"
            use.pids.add(pid)
        for name, now, then in zip(GROWING, level, self._last, strict=True):
            self._totals[name] += max(0.0, now - then)
        self._last = level
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


@dataclass(frozen=True)
class _Process:
    """One process: levels, and counters (in the order of GROWING) of its own and of the children it reaped."""

    threads: int
    memory_bytes: int
    state: str
    own: tuple[float, ...]
    of_reaped: tuple[float, ...]


def _process(pid: int) -> _Process | None:
    """The process now; None when it has ended."""
    stat = text_of(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    minor, minor_reaped, major, major_reaped, user, system, user_reaped, system_reaped = map(int, fields[7:15])
    lines = (line.partition(": ") for line in (text_of(f"/proc/{pid}/io") or "").splitlines())
    io = {name: int(value) for name, _, value in lines}
    read, written, calls = (float(io.get(name, 0)) for name in ("read_bytes", "write_bytes", "rchar"))
    return _Process(
        threads=int(fields[17]),
        memory_bytes=int(fields[21]) * _PAGE,
        state=fields[0],
        own=((user + system) / _TICKS, float(minor), float(major), read, written, calls),
        # The kernel adds a reaped child's I/O to the process's own figures already.
        of_reaped=((user_reaped + system_reaped) / _TICKS, float(minor_reaped), float(major_reaped), 0.0, 0.0, 0.0),
    )
