"""The worker that runs probes for :mod:`cryorepro.workflow.fingerprint`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.plugins.doctor_import import entry_of
from cryorepro.plugins.errors import one_line
from cryorepro.plugins.implementation import instantiate
from cryorepro.plugins.isolation import serve
from cryorepro.plugins.plain_json import plain_json


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    """Either ``{"data": …}`` or ``{"error": sentence}``."""
    try:
        probe = instantiate(entry_of(task["entry"]))
        measured = probe.measure({role: Path(path) for role, path in task["roles"].items()})
        if not isinstance(measured, Mapping):
            return {"error": f"gave a {type(measured).__name__}, not a mapping"}
        return {"data": plain_json(measured)}
    except InputError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - any exception is recorded as the probe's failure
        return {"error": one_line(error)}


if __name__ == "__main__":
    serve(_measure)
