"""A digest of what a file says, whatever day and by whose hand it was written.

Two programs, or one program on two days, write the same result with other bytes: MRC files carry labels with the
time, STAR files carry comments and a version line, JSON carries keys in any order.  What is left out is named, field
by field, so that "identical" always says identical but for what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import HEADER_BYTES, read_mrc_header
from cryorepro.em.formats.star import read_star

MAX_JSON_BYTES = 256 * 1024**2
_CHUNK = 1 << 20
_MRC_SUFFIXES = (".mrc", ".mrcs", ".map")
_STAR_SUFFIXES = (".star",)
VOLATILE_MRC = ("labels (number and text)", "density statistics", "machine stamp's unused bytes")
VOLATILE_STAR = ("comments", "blank lines and column widths", "order and numbering of labels")
VOLATILE_JSON = ("created", "created_at", "started", "ended", "time", "date", "hostname", "user", "pid")
_MRC_VOLATILE_BYTES = ((76, 88), (214, 216), (216, 220), (220, 224), (224, 1024))
"""dmin, dmax, dmean; the stamp's last two bytes; rms; number of labels; the ten labels (MRC2014)."""


@dataclass(frozen=True)
class Canonical:
    """Digest of a file's canonical form, and what that form leaves out, by name."""

    sha256: str
    excluded: tuple[str, ...]


def canonical(path: Path) -> Canonical:
    """The canonical digest of a file by its kind; other kinds count byte by byte.

    Raises:
        InputError: the file is missing, or is not what its name says.
    """
    if path.suffix in _MRC_SUFFIXES:
        return Canonical(_mrc_digest(path), VOLATILE_MRC)
    if path.suffix in _STAR_SUFFIXES:
        return Canonical(_star_digest(path), VOLATILE_STAR)
    if path.suffix == ".json":
        return Canonical(_json_digest(path), tuple(f"'{key}'" for key in VOLATILE_JSON))
    return Canonical(_digest(_chunks(path, 0)), ())


def _mrc_digest(path: Path) -> str:
    read_mrc_header(path)  # refuses what is no MRC file
    with path.open("rb") as stream:
        header = bytearray(stream.read(HEADER_BYTES))
    for start, stop in _MRC_VOLATILE_BYTES:
        header[start:stop] = bytes(stop - start)
    return _digest([bytes(header), *_chunks(path, HEADER_BYTES)])


def _star_digest(path: Path) -> str:
    blocks = {
        name: {"loop": block.is_loop, "columns": {label: block.columns[label] for label in sorted(block.columns)}}
        for name, block in read_star(path).items()
    }
    return _digest([json.dumps(blocks, sort_keys=True).encode()])


def _json_digest(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path}: larger than the {MAX_JSON_BYTES:,} bytes that are compared")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    return _digest([json.dumps(_without(content), sort_keys=True).encode()])


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key not in VOLATILE_JSON}
    return [_without(item) for item in value] if isinstance(value, list) else value


def _chunks(path: Path, start: int) -> Iterable[bytes]:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            while chunk := stream.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
