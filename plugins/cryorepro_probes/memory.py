"""Memory: what the machine has and what this process may use of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, cgroup_values, key_values, read

_UNLIMITED = 2**60
"""Control groups of version 1 write a number near 2^63 for no limit."""


class MemoryProbe(Recorded):
    """Memory and swap in bytes, the control group's limit, huge page policy."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``usable_bytes`` is the lesser of the machine's memory and the control groups' limits."""
        info = key_values(read(self.root / "proc/meminfo"), ":")
        total = _bytes(info.get("MemTotal"))
        if total is None:
            raise ValueError("/proc/meminfo has no MemTotal")
        limit = self._limit()
        return {
            "total_bytes": total,
            "available_bytes": _bytes(info.get("MemAvailable")),
            "cgroup_limit_bytes": limit,
            "usable_bytes": min(total, limit) if limit is not None else total,
            "swap_total_bytes": _bytes(info.get("SwapTotal")),
            "swap_free_bytes": _bytes(info.get("SwapFree")),
            "huge_pages_reserved": int(info.get("HugePages_Total", "0").split()[0]),
            "huge_pages_free": int(info.get("HugePages_Free", "0").split()[0]),
            "huge_page_bytes": _bytes(info.get("Hugepagesize")),
            "transparent_huge_pages": self._choice("sys/kernel/mm/transparent_hugepage/enabled"),
            "transparent_huge_pages_defrag": self._choice("sys/kernel/mm/transparent_hugepage/defrag"),
            "nodes": self._nodes(),
            "zone_reclaim": read(self.root / "proc/sys/vm/zone_reclaim_mode"),
            "overcommit": read(self.root / "proc/sys/vm/overcommit_memory"),
            "numa_balancing": read(self.root / "proc/sys/kernel/numa_balancing"),
            "swappiness": read(self.root / "proc/sys/vm/swappiness"),
        }

    def _nodes(self) -> list[dict[str, Any]]:
        """Memory of each NUMA node."""
        found = []
        for node in sorted((self.root / "sys/devices/system/node").glob("node[0-9]*")):
            sizes = dict(re.findall(r"(MemTotal|MemFree):\s+(\d+) kB", read(node / "meminfo") or ""))
            total, free = (int(sizes[name]) * 1024 if name in sizes else None for name in ("MemTotal", "MemFree"))
            found.append({"index": int(node.name[4:]), "total_bytes": total, "free_bytes": free})
        return found

    def _limit(self) -> int | None:
        texts = cgroup_values(self.root, "memory", "memory.limit_in_bytes", "memory.max")
        limits = [int(text) for text in texts if text.isdigit() and int(text) < _UNLIMITED]
        return min(limits) if limits else None

    def _choice(self, path: str) -> str | None:
        chosen = re.search(r"\[([\w+]+)\]", read(self.root / path) or "")
        return chosen[1] if chosen else None


def _bytes(text: str | None) -> int | None:
    match = re.fullmatch(r"(\d+) kB", text or "")
    return int(match[1]) * 1024 if match else None
