"""What another program did, as an importer read it from the files that program left."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.benchmark import Name

ForeignStatus = Literal["completed", "failed", "interrupted", "not-attempted"]


class ForeignFile(Record):
    """A file to keep with the run: an absolute path that the importer found inside its source."""

    role: str = Name
    path: Path


class ForeignStage(Record):
    """One job. ``inputs`` maps a role to ``STAGE.ROLE`` of an earlier stage or ``data.ROLE``.

    What is not known is None and reads so; ``numbers`` are the program's own figures, not measured here.
    """

    name: str = Name
    kind: str = Name
    status: ForeignStatus
    program: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    started_at: str | None = None
    ended_at: str | None = None
    wall_seconds: float | None = Field(None, ge=0)
    peak_memory_bytes: int | None = Field(None, ge=0)
    message: str | None = None
    files: list[ForeignFile] = Field(default_factory=list)
    rows: dict[str, int] = Field(default_factory=dict)
    numbers: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class ForeignOutcome(Record):
    """A quantity to measure from the stage's files; ``reason`` says why there is none where they are not kept."""

    name: str = Name
    metric: str = Name
    stage: str = Name
    reason: str


class ForeignRun(Record):
    """A whole run of another program; ``source_sha256`` is over the files it was read from."""

    program: str = Name
    name: str = Name
    title: str
    summary: str
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    stages: list[ForeignStage] = Field(min_length=1, max_length=5000)
    outcomes: list[ForeignOutcome] = Field(min_length=1)
    machine: dict[str, dict[str, Any]] = Field(default_factory=dict, description="readings by probe name")
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_resolve(self) -> ForeignRun:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have one name")
        lost = next((outcome.name for outcome in self.outcomes if outcome.stage not in names), None)
        if lost is not None:
            raise ValueError(f"outcome '{lost}' is of no stage")
        return self

    @property
    def status(self) -> Literal["completed", "failed", "interrupted"]:
        """The worst of its stages; a run with jobs that never started is not complete."""
        words = {stage.status for stage in self.stages}
        if "failed" in words:
            return "failed"
        return "interrupted" if words & {"interrupted", "not-attempted"} else "completed"
