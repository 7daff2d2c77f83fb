"""The filesystem under each directory of a run. No path, server or user name is in the result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded
from cryorepro_probes.mounts import device_class, mount_of, mounts


class FilesystemProbe(Recorded):
    """Type, mount options, device and space of the filesystem under each role."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """Roles with the same ``filesystem_number`` share a filesystem, and with it bandwidth and space."""
        table = mounts(self.root)
        numbers: dict[int, int] = {}
        result: dict[str, Any] = {}
        for role, path in sorted(roles.items()):
            there = existing(path)
            number = numbers.setdefault(there.stat().st_dev, len(numbers))
            mount = mount_of(there, table)
            space = os.statvfs(there)
            result[role] = {
                "filesystem_number": number,
                "type": mount.filesystem if mount else None,
                "place": mount.place if mount else "unknown",
                "options": mount.safe_options() if mount else [],
                "device": device_class(mount, self.root) if mount else {"class": "unknown"},
                "block_bytes": space.f_frsize,
                "total_bytes": space.f_blocks * space.f_frsize,
                "free_bytes": space.f_bavail * space.f_frsize,
                "free_inodes": space.f_favail,
            }
        return {"roles": result}


def existing(path: Path) -> Path:
    """``path``, resolved, or the nearest directory above it that exists."""
    resolved = path.resolve()
    while not resolved.exists():
        resolved = resolved.parent
    return resolved
