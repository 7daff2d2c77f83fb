"""A run as one JSON file: the same content as ``cryorepro show RUN --json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class JsonExporter:
    """Writes the record, nothing of the artifacts."""

    def export(self, run: Mapping[str, Any], run_directory: Path, destination: Path) -> None:
        """Write ``run`` to ``destination``.

        Raises:
            OSError: it cannot be written.
        """
        del run_directory
        destination.write_text(json.dumps(run, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
