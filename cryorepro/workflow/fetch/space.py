"""Room on the disk, asked for before anything is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

from cryorepro.workflow.fetch.errors import FetchError


def require_space(directory: Path, needed_bytes: int, reserve_bytes: int, what: str) -> None:
    """Refuse what does not fit on the disk of `directory`, with `reserve_bytes` left over.

    Raises:
        FetchError: there is not enough room.
    """
    if needed_bytes <= 0:
        return
    free = shutil.disk_usage(directory).free
    if needed_bytes + reserve_bytes > free:
        raise FetchError(
            f"{what} needs {human(needed_bytes)} more, but only {human(free)} are free in {directory}"
            f" ({human(reserve_bytes)} of them are left alone)"
        )


def human(count: float) -> str:
    """Bytes in decimal units, as disks and archives state them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
