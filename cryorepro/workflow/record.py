"""The whole of a run as one plain record, folded from its journal: what is shown, compared and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.store.chain import read_events
from cryorepro.store.errors import StoreError
from cryorepro.store.event import Event
from cryorepro.store.seal import verify_run

_USAGE = (
    "wall_seconds", "cpu_seconds", "peak_memory_bytes", "read_bytes", "written_bytes",
)  # fmt: skip


def run_record(directory: Path) -> dict[str, Any]:
    """Everything the journal of ``directory`` says, by subject.

    Raises:
        StoreError: the journal cannot be read, its chain does not hold, or the run never began.
    """
    record: dict[str, Any] = {
        "run": directory.name,
        "created": None,
        "settings": {},
        "status": "unfinished",
        "attempts": [],
        "data": None,
        "fingerprint": [],
        "calibration": None,
        "stages": {},
        "outcomes": {},
        "keys": None,
        "verdicts": [],
        "elapsed_seconds": None,
        "reason": None,
    }
    for event in read_events(directory):
        _apply(record, event)
    if not record["settings"]:
        raise StoreError(
            f"run {directory.name} was stopped before it recorded anything; 'cryorepro resume' takes it up"
        )
    check = verify_run(directory)
    record["integrity"] = {"intact": check.intact, "sealed": check.sealed, "reason": check.reason}
    if check.being_written:
        record["status"] = "running"
    return record


def _apply(record: dict[str, Any], event: Event) -> None:
    data = event.data
    if event.type == "run_created":
        record["created"], record["settings"] = event.time, data
    elif event.type == "attempt_started":
        record["attempts"].append({**data, "status": "killed", "started": event.time})
    elif event.type == "attempt_ended":
        record["attempts"][-1].update(data)
        if data["status"] == "interrupted":
            record["status"] = "interrupted"
    elif event.type == "data_prepared":
        record["data"] = data
    elif event.type == "fingerprint_recorded":
        record["fingerprint"], record["calibration"] = data["probes"], data.get("calibration")
    elif event.type.startswith("stage_"):
        _apply_stage(record["stages"], event.type, data)
    elif event.type == "outcome_measured":
        record["outcomes"][data["outcome"]] = data
    elif event.type == "keys_recorded":
        record["keys"] = data
    elif event.type == "verdict_given":
        record["verdicts"].append(data)
    elif event.type == "run_ended":
        record["status"], record["reason"] = data["status"], data["reason"]
        record["elapsed_seconds"] = data["elapsed_seconds_all_attempts"]


def _apply_stage(stages: dict[str, Any], kind: str, data: dict[str, Any]) -> None:
    stage = stages.setdefault(data["stage"], {"status": "planned", "attempts": [], "outputs": []})
    if kind == "stage_planned":
        stage.update(data)
    elif kind == "stage_started":
        stage["attempts"].append({"attempt": data["attempt"], "resumed": data["resumed"], "status": "killed"})
        stage["status"] = "killed"
    elif kind == "stage_ended":
        if not stage["attempts"] or stage["attempts"][-1]["attempt"] != data["attempt"]:
            # It failed before its process could be started.
            stage["attempts"].append({"attempt": data["attempt"], "resumed": False})
        stage["attempts"][-1].update(data)
        stage["status"] = data["status"]
        stage["usage"] = _add_usage(stage["attempts"])
        stage["perturbed"] = [
            flag for attempt in stage["attempts"] for flag in attempt.get("timeline", {}).get("perturbed", [])
        ]
    elif kind == "stage_outputs":
        stage.update({key: data[key] for key in ("outputs", "iterations", "rows", "numbers", "notes")})
        stage["seed_read_back"] = data["seed"]


def _add_usage(attempts: list[dict[str, Any]]) -> dict[str, float | None]:
    """Sums over attempts, except memory, whose peak counts; None what a foreign run says is not known."""
    usage: dict[str, float | None] = {}
    for name in _USAGE:
        told = [attempt[name] for attempt in attempts if name in attempt]
        values = [value for value in told if value is not None]
        nothing = None if told else 0
        usage[name] = (max if name == "peak_memory_bytes" else sum)(values) if values else nothing
    return usage
