"""What differs between the conditions of a published claim and those of a run here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.model.claim import Claim

Row = tuple[str, str, str]


def differing_conditions(record: Mapping[str, Any], claim: Claim) -> list[Row]:
    """Rows of (condition, published, here); ``record`` is a run's record."""
    rows: list[Row] = []
    settings = record["settings"]
    if settings["tier"] != "full":
        data = record["data"] or {"rows": {}}
        counted = ", ".join(f"{count:,} {name}" for name, count in data["rows"].items())
        rows.append(("data", "the whole deposit", f"{settings['tier']}: {counted or 'not prepared'}"))
    rows.append(("software", claim.software, _software(record)))
    rows.append(("hardware", claim.hardware, hardware(record)))
    departures = [text for stage in record["stages"].values() for text in stage.get("departures", [])]
    rows += [("parameters", "as published", text) for text in departures]
    return [row for row in rows if row[1] != row[2]]


def _software(record: Mapping[str, Any]) -> str:
    names = []
    for stage in record["stages"].values():
        program = stage.get("program", {})
        version = program.get("version", "")
        names.append(f"{stage.get('runner', '?')} ({program.get('name', '')} {version})".replace(" )", ")"))
    return ", ".join(dict.fromkeys(names)) or "nothing ran"


def hardware(record: Mapping[str, Any]) -> str:
    """GPUs when the run used them, else the processor and the threads it was given."""
    probes = {probe["name"]: probe["data"] for probe in record["fingerprint"] if probe["status"] == "ok"}
    settings = record["settings"]
    if settings["device"] != "cpu":
        gpus = probes.get("gpu", {}).get("gpus", [])
        return ", ".join(str(gpu.get("name")) for gpu in gpus) or settings["device"]
    model = probes.get("cpu", {}).get("model") or "CPU"
    return f"{model}, {settings['threads']} threads"
