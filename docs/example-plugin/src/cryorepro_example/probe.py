"""A probe: plain JSON about one aspect of the machine, and nothing about who uses it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Entropy:
    """The kernel's entropy estimate. An exception here is recorded as this probe's failure."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``roles`` names the run's directories; a probe that needs none ignores them."""
        return {"entropy_bits": int(Path("/proc/sys/kernel/random/entropy_avail").read_text())}
