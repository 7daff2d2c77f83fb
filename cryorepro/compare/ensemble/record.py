"""What the journal of a set says: its members, where each stands, and its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.store.chain import is_being_written, read_events
from cryorepro.store.event import Event
from cryorepro.store.seal import verify_run
from cryorepro.store.sets import SET_PREFIX, find_set

__all__ = ["SET_PREFIX", "find_set", "set_record"]


def set_record(directory: Path) -> dict[str, Any]:
    """A set as one plain record; members are in the order in which they run.

    Raises:
        StoreError: the journal cannot be read or its chain does not hold.
    """
    record: dict[str, Any] = {
        "set": directory.name,
        "created": None,
        "settings": {},
        "status": "unfinished",
        "members": [],
        "verdict": None,
    }
    for event in read_events(directory):
        _apply(record, event)
    check = verify_run(directory)
    record["integrity"] = {"intact": check.intact, "sealed": check.sealed, "reason": check.reason}
    if record["status"] == "unfinished" and is_being_written(directory):
        record["status"] = "running"
    return record


def _apply(record: dict[str, Any], event: Event) -> None:
    data: dict[str, Any] = dict(event.data)
    if event.type == "set_created":
        record["created"] = event.time
        record["settings"] = {name: value for name, value in data.items() if name != "members"}
        record["members"] = [{**member, "run": None, "status": "planned", "reason": None} for member in data["members"]]
    elif event.type == "member_started":
        _member(record, data).update(run=data["run_uid"], status="unfinished")
    elif event.type == "member_ended":
        _member(record, data).update(status=data["status"], reason=data["reason"])
    elif event.type == "set_verdict_given":
        record["verdict"] = data
    elif event.type == "set_ended":
        record["status"] = data["status"]


def _member(record: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in record["members"] if row["position"] == data["position"])
    return found
