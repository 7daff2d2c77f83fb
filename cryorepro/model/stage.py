"""What a stage is asked to do and what it is found to have done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cryorepro.model.base import Record


class StageRequest(Record):
    """One stage, ready to run: everything a runner may know (no truth, no claims).

    ``parameters`` are already validated against the parameter model of ``kind``. ``inputs`` maps a role
    (``particles``, ``reference``, ``mask``, ``half1``, ``half2``, ``map`` …) to an absolute path. ``processes`` share
    the work of stages that can be shared out (one GPU each on CUDA); they divide the ``threads`` among them.
    """

    stage: str
    kind: str
    parameters: dict[str, Any]
    inputs: dict[str, Path]
    output_dir: Path
    seed: int = Field(ge=1, le=2**31 - 1)
    threads: int = Field(1, ge=1)
    processes: int = Field(1, ge=1, le=4096)
    device: str = "cpu"
    deterministic: bool = False
    resume: bool = False


class StageCommand(Record):
    """The exact process that carries a stage out."""

    argv: list[str] = Field(min_length=1)
    environment: dict[str, str] = Field(default_factory=dict)
    cwd: Path


class Progress(Record):
    """How far a stage has come, read from what it wrote."""

    iteration: int = Field(ge=0)
    of: int | None = None
    resolution_angstrom: float | None = None


class StageResult(Record):
    """What a stage wrote, as checked by its runner after exit code 0.

    ``outputs`` maps a role to a path relative to the stage's directory; ``rows`` counts the rows of tables
    among them; ``seed`` is read back from what the program recorded, not from what it was told.
    """

    outputs: dict[str, Path]
    iterations: int | None = None
    rows: dict[str, int] = Field(default_factory=dict)
    seed: int | None = None
    numbers: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


FailureClass = Literal["setup", "data", "resource", "runtime", "preempted", "extraction", "incomplete-output"]


class StageFailure(Exception):
    """A stage did not do what it was asked, whatever its exit code said."""

    def __init__(self, failure_class: FailureClass, message: str) -> None:
        super().__init__(message)
        self.failure_class: FailureClass = failure_class
        self.message = message
