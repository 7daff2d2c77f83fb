"""Which mount a directory lies on, from /proc/self/mountinfo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryorepro_probes.kernel import read, read_int
from cryorepro_probes.mount_names import LOCAL, NETWORK, OPTIONS


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    device: str
    point: str
    filesystem: str
    options: str

    @property
    def place(self) -> Literal["local", "network", "unknown"]:
        """Where the data are; a FUSE filesystem that is in neither list is unknown."""
        if self.filesystem in NETWORK:
            return "network"
        return "local" if self.filesystem in LOCAL else "unknown"

    def safe_options(self) -> list[str]:
        """Mount options by allow-list, without values that are not plain words or numbers."""
        kept = set()
        for option in self.options.split(","):
            name, _, value = option.partition("=")
            if name in OPTIONS and re.fullmatch(r"[\w.+-]{0,32}", value):
                kept.add(option)
        return sorted(kept)


def mounts(root: Path = Path("/")) -> list[Mount]:
    """All mounts of this process, in mount order."""
    found = []
    for line in (read(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if len(head) >= 6 and len(tail) >= 3:
            options = f"{head[5]},{tail[2]}"
            found.append(Mount(head[2], _unescape(head[4]), tail[0], options))
    return found


def mount_of(path: Path, table: list[Mount]) -> Mount | None:
    """The mount that serves ``path`` (absolute, resolved): the longest mount point, the latest of equals."""
    best: Mount | None = None
    for mount in table:
        if path.is_relative_to(mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def device_class(mount: Mount, root: Path = Path("/")) -> dict[str, object]:
    """What the filesystem sits on: memory, NVMe, SSD, rotating or virtual disk, as the kernel tells it."""
    if mount.filesystem in ("tmpfs", "ramfs"):
        return {"class": "memory"}
    disk = _disk(root / "sys/dev/block" / mount.device)
    if disk is None:
        return {"class": "network" if mount.place == "network" else "unknown"}
    rotational = read_int(disk / "queue/rotational")
    scheduler = re.search(r"\[([\w-]+)\]", read(disk / "queue/scheduler") or "")
    return {
        "class": _kind(disk.name, rotational),
        "rotational": None if rotational is None else bool(rotational),
        "model": read(disk / "device/model"),
        "scheduler": scheduler[1] if scheduler else None,
        "read_ahead_kb": read_int(disk / "queue/read_ahead_kb"),
        "requests": read_int(disk / "queue/nr_requests"),
        "logical_block_bytes": read_int(disk / "queue/logical_block_size"),
        "write_cache": read(disk / "queue/write_cache"),
        "members": sorted({re.sub(r"\d+$", "", path.name) for path in (disk / "slaves").glob("*")}),
    }


def _kind(name: str, rotational: int | None) -> str:
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith(("vd", "xvd")):
        return "virtual-disk"
    mapped = re.match(r"dm|md|loop|zd|rbd|nbd", name)
    if mapped:
        return mapped[0]
    return {0: "ssd", 1: "rotating-disk"}.get(-1 if rotational is None else rotational, "unknown")


def _disk(link: Path) -> Path | None:
    try:
        device = link.resolve(strict=True)
    except OSError:
        return None
    return device.parent if (device / "partition").exists() else device


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
