"""How much memory a device has left, and what to do when it was not enough."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_GROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_UNLIMITED = 1 << 60


def free_bytes(device: torch.device, group: Path = _GROUP, meminfo: Path = _MEMINFO) -> int:
    """Bytes a process may still take on ``device``.

    On a GPU what the driver has free and torch holds unused; on the CPU the least of what the machine has available and
    what the process's control group (version 2 or 1) leaves below its limit, pages of files not counted as used.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_available(meminfo), *(_left_in_group(folder) for folder in _groups(group)))


def _available(meminfo: Path) -> int:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        found = {line.partition(":")[0]: line.partition(":")[2].split()[0] for line in lines if ":" in line}
        return int(found["MemAvailable"]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _groups(group: Path) -> list[Path]:
    """The process's control group and those above it; the mount itself is what a container sees as its own."""
    own = "/"
    try:
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            number, names, path = line.split(":", 2)
            if number == "0" or "memory" in names.split(","):
                own = path
    except (OSError, ValueError):
        return [group]
    folder = group / own.lstrip("/")
    return [folder, *(above for above in folder.parents if above == group or group in above.parents), group]


def _left_in_group(folder: Path) -> int:
    for limit, usage, base in (
        ("memory.max", "memory.current", folder),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", _version_1(folder)),
    ):
        most, used = _number(base / limit), _number(base / usage)
        if most is not None and used is not None and most < _UNLIMITED:
            return max(0, most - used + _reclaimable(base / "memory.stat"))
    return _UNLIMITED


def _version_1(folder: Path) -> Path:
    return folder if folder.name == "memory" else folder / "memory"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # absent, or the word "max"
        return None


def _reclaimable(path: Path) -> int:
    """Pages of files that the kernel takes back before a limit is reached."""
    try:
        lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
        return sum(int(value) for name, value in lines if name in ("inactive_file", "active_file"))
    except (OSError, ValueError):
        return 0
