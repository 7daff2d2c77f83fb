"""What the implementation behind each descriptor must be able to do.

An implementation is a class called without arguments, or a ready object. Heavy imports belong inside its
methods or its own module, which is imported only when the thing is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.model.outcome import MetricValue
from cryorepro.model.stage import Progress, StageCommand, StageRequest, StageResult


@runtime_checkable
class DatasetSource(Protocol):
    """Makes one tier of a dataset available as local files."""

    def prepare(self, request: DataRequest) -> PreparedData:
        """Write or link the files of ``request.tier`` below ``request.directory`` and say what they are.

        Raises:
            InputError: what was given does not match what the dataset declares.
        """
        ...

    def truth(self, request: DataRequest) -> Mapping[str, Path]:
        """Paths of the truth by role, below ``request.truth_directory``; empty when the tier has none."""
        ...


@runtime_checkable
class StageRunner(Protocol):
    """Carries out stages as processes and checks what they left behind."""

    def plan(self, request: StageRequest) -> StageCommand:
        """The exact command for ``request``; must not write anything.

        With ``request.resume`` the command continues from what is already in ``request.output_dir``.

        Raises:
            InputError: the request asks for something this runner cannot do; the sentence names the parameter.
        """
        ...

    def progress(self, request: StageRequest) -> Progress | None:
        """How far the stage has come, from the files in ``request.output_dir``; None before the first sign."""
        ...

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        """Check what the stage wrote: final iteration, row counts, ranges, its own warnings in ``log``.

        Called only after exit code 0; an exit code alone proves nothing.

        Raises:
            StageFailure: something expected is missing or wrong.
        """
        ...

    def version(self) -> Mapping[str, str]:
        """Name, version and build of the program behind this runner, as it reports them."""
        ...


@runtime_checkable
class MachineProbe(Protocol):
    """Measures one aspect of the machine."""

    def measure(self, roles: Mapping[str, Path]) -> Mapping[str, Any]:
        """Plain JSON data. ``roles`` names the directories the run uses (``input``, ``scratch``, ``output``).

        Any exception is recorded as this probe's failure.
        """
        ...


@dataclass(frozen=True)
class MetricContext:
    """All a metric may look at: artifacts with lineage, the data, and (twins only) the truth."""

    artifacts: Mapping[str, Path]
    """Outputs of the outcome's stage by role; absolute paths, hashes already checked."""
    data: PreparedData
    truth: Mapping[str, Path]
    stage_parameters: Mapping[str, Any]
    numbers: Mapping[str, float]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output_dir: Path | None = None
    """Where pictures and curves may be written; their names go into ``MetricValue.details``."""


@runtime_checkable
class OutcomeMetric(Protocol):
    """Measures one outcome."""

    def measure(self, context: MetricContext) -> MetricValue:
        """The number with its unit.

        Raises:
            InputError: an artifact is not what it should be; the outcome is then ``unverifiable``.
        """
        ...


@runtime_checkable
class RunExporter(Protocol):
    """Writes a run for others."""

    def export(self, run: Mapping[str, Any], run_directory: Path, destination: Path) -> None:
        """Write ``run`` (the record ``cryorepro show --json`` prints) to ``destination``."""
        ...


class ProcessHandle(Protocol):
    """A started stage."""

    def poll(self) -> int | None:
        """Exit code of the supervisor, or None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask the stage to end; returns at once."""
        ...


@runtime_checkable
class StageExecutor(Protocol):
    """Starts the supervisor of one attempt of a stage."""

    def launch(self, attempt_file: Path) -> ProcessHandle:
        """Start ``python -m cryorepro.workflow.supervisor ATTEMPT_FILE`` where this executor runs things."""
        ...
