"""Files a run writes and reads: atomic JSON and content hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryorepro.store.files import write_atomically

_BLOCK = 1 << 20


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` so that ``path`` is either the old file or the whole new one, even after a crash.

    Raises:
        StoreError: the disk is full or read-only; the old file is untouched.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file this program wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    """Hex digest of the bytes of ``path``."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe(role: str, path: Path, relative_to: Path | None = None) -> dict[str, Any]:
    """Role, path, hash and size of one file; the path relative to ``relative_to`` when it lies inside."""
    shown = path
    if relative_to is not None and path.is_relative_to(relative_to):
        shown = path.relative_to(relative_to)
    return {"role": role, "path": str(shown), "sha256": sha256_of(path), "size_bytes": path.stat().st_size}
