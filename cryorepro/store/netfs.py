"""Whether a path lies on a disk of this machine: SQLite's locks and shared memory fail over a network.

Network filesystems are many and new ones appear, so the known local ones are listed and the rest is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cryorepro.store.errors import StoreError

MOUNTINFO = Path("/proc/self/mountinfo")

LOCAL_TYPES = frozenset({
    "aufs", "bcachefs", "btrfs", "ecryptfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk",
    "fuse.fuse-overlayfs", "hfsplus", "iso9660", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay",
    "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "vfat", "xfs", "zfs",
})  # fmt: skip
"""Filesystem types of ``/proc/self/mountinfo`` on which one kernel sees every lock."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where, what type, from which source."""

    point: str
    type: str
    source: str


def parse_mountinfo(text: str) -> list[Mount]:
    """Read the text of ``/proc/self/mountinfo`` (see proc(5)); lines of another form are passed over."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if separator and len(head) >= 6 and len(tail) >= 2:
            mounts.append(Mount(_unescape(head[4]), tail[0], _unescape(tail[1])))
    return mounts


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that holds ``path`` (absolute, links resolved): the longest point, and of equals the last."""
    best: Mount | None = None
    for mount in mounts:
        inside = path == Path(mount.point) or Path(mount.point) in path.parents
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def require_local(path: Path, mountinfo: str | None = None) -> None:
    """Refuse a path for a database when it lies on a network filesystem.

    Args:
        path: the file to be made or opened; it need not exist.
        mountinfo: the text to judge by; that of this process when not given. A system without one is trusted.

    Raises:
        StoreError: the filesystem is not one of ``LOCAL_TYPES``.
    """
    if mountinfo is None:
        if not MOUNTINFO.exists():
            return
        mountinfo = MOUNTINFO.read_text("utf-8", "surrogateescape")
    mount = mount_of(path.resolve(), parse_mountinfo(mountinfo))
    if mount is not None and mount.type not in LOCAL_TYPES:
        raise StoreError(
            f"cannot keep the index {path} on {mount.type} (mounted at {mount.point}): SQLite needs a local "
            "disk, so set CRYOREPRO_INDEX to a file on one; runs may stay where they are"
        )


def _unescape(field: str) -> str:
    """Mountinfo writes space, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
