"""What the implementation behind each descriptor must be able to do.

An implementation is a class called without arguments, or a ready object. Heavy imports belong inside its
methods or its own module, which is imported only when the thing is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cryorepro.em.formats.errata import Erratum
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.model.foreign import ForeignRun
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
class Archive(Protocol):
    """The archive entry of a dataset, read over the network into a verified cache. The framework hands it in.

    Every method may raise FetchError, an InputError whose sentence names the file or the host.
    """

    def file(self, path: str) -> Path:
        """A file of the deposit by its path in the entry, whole; fetched once."""
        ...

    def emdb_map(self, accession: str) -> Path:
        """The primary map of an EMDB entry, compressed as EMDB has it."""
        ...

    def particles(
        self,
        star_path: str,
        count: int,
        seed: int,
        errata: Sequence[Erratum] = (),
        pixel_size_angstrom: float | None = None,
    ) -> Path:
        """A folder with ``count`` particles drawn with ``seed`` from the table at ``star_path``, read by ranges.

        It holds ``particles.star``, ``particles.mrcs`` and ``origin_rows.star``. The rows are those of
        ``random_stream(seed, "subset")``, sorted, so that a local copy gives the same selection. The pixel size is
        for the stack's header; that of the table, unless given.
        """
        ...

    def local_copy(self) -> Path | None:
        """The folder of the whole deposit, when it was fetched before; None otherwise."""
        ...


@runtime_checkable
class RemoteDatasetSource(DatasetSource, Protocol):
    """A dataset that can also prepare a tier from its archive entry. Optional beside :class:`DatasetSource`."""

    def prepare_remote(self, request: DataRequest, archive: Archive) -> PreparedData:
        """As ``prepare``, when the person gave no local copy (``request.local_path`` is None).

        Raises:
            InputError: the tier cannot be had this way; the sentence says what is needed.
        """
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

        A probe may also have ``raw()``, the texts it read by source, and ``parser_version``: they are kept in the
        run's private file, never exported.
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


@runtime_checkable
class RunImporter(Protocol):
    """Reads what another program left behind as one run; writes nothing."""

    def recognises(self, source: Path) -> bool:
        """Whether ``source``, a file or a folder, looks like something this importer reads. Cheap."""
        ...

    def read(self, source: Path) -> ForeignRun:
        """What the program did there.

        Raises:
            InputError: it is malformed, too large, or names files outside ``source``.
        """
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
