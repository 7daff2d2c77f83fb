"""Python and every installed distribution. Install locations are left out."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_SETTINGS = ("optimize", "hash_randomization", "isolated", "dev_mode", "utf8_mode")


class PythonProbe:
    """Interpreter, its settings, and distributions with version and digest of RECORD."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """A distribution without a RECORD (a development tree, a system package) has no digest."""
        return {
            "implementation": platform.python_implementation(),
            "version": platform.python_version(),
            "compiler": platform.python_compiler(),
            "build": list(platform.python_build()),
            "virtual_environment": sys.prefix != sys.base_prefix,
            "settings": {name: int(getattr(sys.flags, name)) for name in _SETTINGS},
            "distributions": distributions(),
        }


def distributions() -> list[dict[str, Any]]:
    """Name, version, RECORD digest and whether editable, by name; of shadowed ones the first on the path."""
    found: dict[str, dict[str, Any]] = {}
    for distribution in metadata.distributions():
        about = distribution.metadata
        name = about["Name"]
        if name is None:
            continue
        record = distribution.read_text("RECORD")
        direct = distribution.read_text("direct_url.json") or ""
        row = {
            "name": name,
            "version": about["Version"],
            "record_sha256": hashlib.sha256(record.encode()).hexdigest() if record else None,
            "editable": '"editable": true' in direct or '"editable":true' in direct,
        }
        found.setdefault(name.lower().replace("_", "-").replace(".", "-"), row)
    return [found[key] for key in sorted(found)]
