"""The worker that runs probes for :mod:`cryorepro.workflow.fingerprint`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.plugins.doctor_import import entry_of
from cryorepro.plugins.errors import one_line
from cryorepro.plugins.implementation import instantiate
from cryorepro.plugins.isolation import serve

_DEEPEST = 20


def plain_json(value: Any, place: str = "data", depth: int = 0) -> Any:
    """``value`` as plain JSON: str keys, finite numbers, lists for tuples.

    Raises:
        InputError: something else is in it; the sentence says where.
    """
    if depth > _DEEPEST:
        raise InputError(f"{place} is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise InputError(f"{place} has the key {key!r}, which is not a string")
        return {key: plain_json(part, f"{place}.{key}", depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(value)]
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is str and value.isascii() | (value.encode(errors="replace").decode() == value):
        return value
    raise InputError(f"{place} is {value!r:.80}, which is not plain JSON")


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
