"""Takes bundles apart and puts them together again, the way someone who means harm would."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

from cryorepro.bundle.zipwrite import write_archive

Members = dict[str, bytes]


def members_of(bundle: Path) -> Members:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sums(members: Members) -> bytes:
    names = sorted(name for name in members if name not in ("SHA256SUMS", "signature.json"))
    return "".join(f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in names).encode()


def forged(bundle: Path, destination: Path, change: Callable[[Members], None]) -> Path:
    """A copy with ``change`` made and every sum made to fit."""
    members = members_of(bundle)
    change(members)
    members["SHA256SUMS"] = sums(members)
    write_archive(destination, members)
    return destination
