"""Reads a CryoSPARC project, job or benchmark file as a run: what was done, how long it took, what can be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.model.foreign import ForeignOutcome, ForeignRun, ForeignStage
from cryorepro_cryosparc import timings
from cryorepro_cryosparc.job_types import REFINEMENTS, slug
from cryorepro_cryosparc.machine import probes
from cryorepro_cryosparc.mongo import shown
from cryorepro_cryosparc.project import Export, job_files, read_export
from cryorepro_cryosparc.stages import RESOLUTION, stage_name, stage_of

PROGRAM = "cryosparc"


class CryosparcImporter:
    """What a CryoSPARC master left in a folder, or a file of benchmark timings."""

    def recognises(self, source: Path) -> bool:
        """Whether there is a ``job.json`` or a file of timings."""
        return timings.recognises(source) if source.is_file() and source.name != "job.json" else bool(job_files(source))

    def read(self, source: Path) -> ForeignRun:
        """The run.

        Raises:
            InputError: something in ``source`` is malformed, too large, or leads out of it.
        """
        if source.is_file() and source.name != "job.json":
            return timings.read(source)
        return run_of(read_export(source.resolve()), source.resolve())


def run_of(export: Export, source: Path) -> ForeignRun:
    """The jobs of an export as one run."""
    names: dict[str, str] = {}
    stages: list[ForeignStage] = []
    machine: dict[str, dict[str, Any]] = {}
    for found in export.jobs:
        stages.append(stage_of(found, names))
        names[found.job.uid] = stage_name(found)
        machine = probes(found.job.machine, found.job.resources) or machine
    folder = source if source.is_dir() else source.parent
    versions = dict.fromkeys(found.job.version for found in export.jobs if found.job.version)
    version = ", ".join(versions) or "of unknown version"
    machines = {found.job.machine.get("platform_node") for found in export.jobs if found.job.machine}
    return ForeignRun(
        program=PROGRAM,
        name=slug(f"cryosparc-{folder.name}"),
        title=f"CryoSPARC: {shown(folder.name, 100)}",
        summary=f"{len(stages)} jobs of CryoSPARC {version}, read from what it left.",
        source_sha256=export.sha256,
        stages=stages,
        outcomes=[_outcome(stages)],
        machine=machine,
        notes=["jobs ran on several machines; that of the last one is shown"] if len(machines) > 1 else [],
    )


def _outcome(stages: list[ForeignStage]) -> ForeignOutcome:
    """The last refinement's resolution, which nobody measured here."""
    refined = [stage for stage in stages if stage.kind in REFINEMENTS or RESOLUTION in stage.numbers]
    if not refined:
        return ForeignOutcome(
            name="resolution", metric="half_map_fsc", stage=stages[-1].name, reason="no refinement is in the export"
        )
    reported = refined[-1].numbers.get(RESOLUTION)
    said = "reported none" if reported is None else f"reported {reported:.2f} A"
    reason = f"CryoSPARC {said}; no half maps are in the export"
    return ForeignOutcome(name="resolution", metric="half_map_fsc", stage=refined[-1].name, reason=reason)
