"""What the journal of a run says has happened so far: where a resumed run begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryorepro.store.event import Event


@dataclass
class History:
    """A run's past, folded from its events."""

    attempts: int = 0
    open_attempt: int | None = None
    elapsed_seconds: float = 0.0
    data: dict[str, Any] | None = None
    fingerprint: list[dict[str, Any]] | None = None
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    stage_attempts: dict[str, int] = field(default_factory=dict)
    first_started: dict[str, float] = field(default_factory=dict)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    ended: str | None = None


def fold(events: list[Event]) -> History:
    """The history that ``events`` tell."""
    history = History()
    for event in events:
        _apply(history, event.type, event.data)
    return history


def _apply(history: History, kind: str, data: dict[str, Any]) -> None:
    if kind == "attempt_started":
        history.attempts = max(history.attempts, data["attempt"])
        history.open_attempt = data["attempt"]
        history.ended = None
    elif kind == "attempt_ended":
        history.elapsed_seconds += data["elapsed_seconds"]
        history.open_attempt = None
    elif kind == "data_prepared":
        history.data = data
    elif kind == "fingerprint_recorded":
        history.fingerprint = data["probes"]
    elif kind == "stage_started":
        history.stage_attempts[data["stage"]] = data["attempt"]
        history.first_started.setdefault(data["stage"], data["started_at"])
    elif kind == "stage_outputs":
        history.outputs[data["stage"]] = data
    elif kind == "outcome_measured":
        history.outcomes = [past for past in history.outcomes if past["outcome"] != data["outcome"]] + [data]
    elif kind == "run_ended":
        history.ended = data["status"]
