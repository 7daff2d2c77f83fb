"""JSON that somebody else wrote: an ordinary file of a bounded size and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError

DEEPEST = 40


def read_foreign_json(path: Path, largest_bytes: int, what: str) -> Any:
    """The document in ``path``.

    Raises:
        InputError: no ordinary file (a device or a pipe may never end), too large, not JSON, or nested too deep.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not an ordinary file")
        if path.stat().st_size > largest_bytes:
            raise InputError(f"{path}: larger than the {largest_bytes:,} bytes {what} may have")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if _deeper_than(content, DEEPEST):
        raise InputError(f"{path}: nested deeper than {DEEPEST} levels")
    return content


def _deeper_than(content: Any, levels: int) -> bool:
    now = [content]
    for _ in range(levels):
        parts = [
            list(item.values()) if isinstance(item, dict) else item for item in now if isinstance(item, dict | list)
        ]
        now = [inner for part in parts for inner in part]
    return bool(now)
