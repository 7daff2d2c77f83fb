"""Where the data that ships with cryorepro lies: inside the wheel, or beside it in a source checkout."""

from __future__ import annotations

from pathlib import Path


def shipped(kind: str) -> Path:
    """Directory of ``specs`` or ``registry``.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_shipped" / kind, package.parent / kind):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"this installation of cryorepro lacks its '{kind}' directory; reinstall it")
