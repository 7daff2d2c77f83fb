"""Small readers of /proc and /sys. ``root`` stands for ``/`` so that tests can show another machine."""

from __future__ import annotations

import re
from pathlib import Path

LONGEST_RAW = 65_536
"""Characters kept of one text in the raw record; /proc/cpuinfo repeats itself for every core."""

_record: dict[str, str] = {}


class Recorded:
    """A probe whose raw readings are kept: what it read, word for word, and the version of what parsed it.

    Raw readings can hold paths and identifiers. They stay in the run's private file and are never exported.
    """

    parser_version = "2"

    def raw(self) -> dict[str, str]:
        """What was read since the last call, by source."""
        taken = dict(_record)
        _record.clear()
        return taken


def keep(source: str, text: str) -> None:
    """Add one raw reading to the record."""
    _record[source] = text[:LONGEST_RAW]


def read(path: Path) -> str | None:
    """Stripped text of a kernel file; None when it is absent or not readable."""
    try:
        text = path.read_text(errors="replace").strip()
    except (OSError, ValueError):
        return None
    keep(str(path), text)
    return text


def read_int(path: Path) -> int | None:
    """A kernel file that holds one integer; None when it is absent, unreadable or holds something else."""
    text = read(path)
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def key_values(text: str | None, separator: str) -> dict[str, str]:
    """Lines ``key SEPARATOR value`` as a mapping; the first of repeated keys counts."""
    pairs: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, found, value = line.partition(separator)
        if found:
            pairs.setdefault(key.strip(), value.strip().strip('"'))
    return pairs


def cgroup_values(root: Path, controller: str, v1_name: str, v2_name: str) -> list[str]:
    """Contents of one control group file for this process and every group above it that can be seen.

    Version 2 keeps all controllers in one tree (``0::/path`` in /proc/self/cgroup), version 1 one for each.
    A container often sees only its own group mounted at the top: a path that is not there is skipped.
    """
    values = []
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            bases, name = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"], v2_name
        elif controller in controllers.split(","):
            bases, name = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup" / controller], v1_name
        else:
            continue
        for base in dict.fromkeys(bases):
            texts = [read(directory / name) for directory in _upwards(base, group)]
            values += [text for text in texts if text is not None]
    return values


def _upwards(base: Path, group: str) -> list[Path]:
    parts = [part for part in group.split("/") if part not in ("", ".", "..")]
    return [base.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
