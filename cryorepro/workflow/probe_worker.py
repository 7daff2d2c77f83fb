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
    """Either ``{"data": …}`` or ``{"error": sentence}``, with the probe's raw readings if it keeps any."""
    try:
        probe = instantiate(entry_of(task["entry"]))
    except InputError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - any exception is recorded as the probe's failure
        return {"error": one_line(error)}
    return _answer(probe, task) | _raw(probe)


def _raw(probe: Any) -> dict[str, Any]:
    """Raw readings and parser version by the probe's own word; what is not text to text is left out."""
    try:
        raw = probe.raw() if hasattr(probe, "raw") else {}
        kept = {str(source): text for source, text in raw.items() if isinstance(text, str)}
        return dict(plain_json({"raw": kept, "parser": str(getattr(probe, "parser_version", "")) or None}))
    except Exception as error:  # noqa: BLE001 - as above: the reading itself stands
        return {"raw": {"error": one_line(error)}, "parser": None}


def _answer(probe: Any, task: dict[str, Any]) -> dict[str, Any]:
    try:
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
