"""A job that was found as a stage of a run: what it was told, how long it took, what it left, what it reported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import CsTable, read_cs
from cryorepro.model.foreign import ForeignFile, ForeignStage, ForeignStatus
from cryorepro_cryosparc.job_types import kind_of, slug
from cryorepro_cryosparc.mongo import shown
from cryorepro_cryosparc.project import FoundJob, inside

RESOLUTION = "reported_resolution_angstrom"
MAPS = {"map": "map/path", "half1": "map_half_A/path", "half2": "map_half_B/path", "mask": "mask_refine/path"}
_STATUS: Mapping[str, ForeignStatus] = {
    "completed": "completed",
    "failed": "failed",
    "killed": "interrupted",
    "launched": "interrupted",
    "started": "interrupted",
    "running": "interrupted",
    "waiting": "interrupted",
}


def stage_name(found: FoundJob) -> str:
    """``j5-class_2d_new``."""
    return f"{found.job.uid.lower()}-{slug(found.job.type)}"


def stage_of(found: FoundJob, names: Mapping[str, str]) -> ForeignStage:
    """The stage; ``names`` maps uids of earlier jobs to their stages."""
    job, log = found.job, found.log
    status = _STATUS.get(job.status, "not-attempted")
    seconds, time_notes = _wall_seconds(found) if status != "not-attempted" else (None, [])
    files, rows, file_notes = _tables(found)
    return ForeignStage(
        name=stage_name(found),
        kind=kind_of(job.type),
        status=status,
        program={"name": "CryoSPARC", "version": job.version or "unknown", "job_type": shown(job.type, 80)},
        parameters=job.parameters,
        inputs=_inputs(found, names),
        started_at=_iso(job.started_at),
        ended_at=_iso(job.ended_at),
        wall_seconds=seconds,
        peak_memory_bytes=log.peak_memory_bytes if log else None,
        message=_message(found) if status in ("failed", "interrupted") else None,
        files=files,
        rows=rows,
        numbers=_numbers(found),
        notes=[*time_notes, *file_notes, *_log_notes(found)],
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _wall_seconds(found: FoundJob) -> tuple[float | None, list[str]]:
    """From start to end as CryoSPARC recorded them, else between the first and the last event."""
    job, log = found.job, found.log
    waited = ["the job waited for a person; that time is part of its wall time"] if job.waited else []
    if job.started_at is not None and job.ended_at is not None:
        seconds = (job.ended_at - job.started_at).total_seconds()
        if seconds >= 0:
            return seconds, waited
        return None, ["wall time unverifiable: the job ended before it started"]
    if log is not None and log.first is not None and log.last is not None and log.count > 1:
        return (log.last - log.first).total_seconds(), [*waited, "wall time is that from the first event to the last"]
    return None, ["wall time unverifiable: neither start and end nor events are in the export"]


def _inputs(found: FoundJob, names: Mapping[str, str]) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for name, parent, output in found.job.inputs:
        role, number = slug(name), 1
        while role in inputs:
            number += 1
            role = f"{slug(name)}-{number}"
        inputs[role] = f"{names[parent]}.{slug(output)}" if parent in names else f"data.{slug(parent)}-{slug(output)}"
    return inputs


def _message(found: FoundJob) -> str:
    said = [*found.job.errors, *(found.log.errors if found.log else ())]
    return said[-1] if said else f"the job's status is '{found.job.status}'"


def _tables(found: FoundJob) -> tuple[list[ForeignFile], dict[str, int], list[str]]:
    """Tables that can be read, their rows, and a note for each that cannot or is not there."""
    files: list[ForeignFile] = []
    rows: dict[str, int] = {}
    notes = [f"output unverifiable: {shown(name, 100)} is not in the export" for name in found.missing]
    used: dict[str, int] = {}
    maps: dict[str, Path] = {}
    for output, path in found.tables:
        try:
            table = read_cs(path)
        except InputError as error:
            notes.append(f"output unverifiable: {shown(str(error).removeprefix(str(path.parent) + '/'), 200)}")
            continue
        maps |= _maps(found, table)
        used[output] = used.get(output, 0) + 1
        role = slug(output) if used[output] == 1 else f"{slug(output)}-{used[output]}"
        files.append(ForeignFile(role=role, path=path))
        rows[role] = len(table)
    files += [ForeignFile(role=role, path=path) for role, path in maps.items() if role not in rows]
    for told in found.job.outputs:
        rows.setdefault(slug(told.name), told.items)
    return files, rows, notes


def _maps(found: FoundJob, table: CsTable) -> dict[str, Path]:
    """The map, half maps and mask of a refinement, as far as they are in the export and are maps."""
    maps: dict[str, Path] = {}
    for role, field in MAPS.items():
        if field not in table or not len(table):
            continue
        path = inside(found.root, found.document, table.texts(field)[0])
        if path is not None:
            maps[role] = path
    return maps


def _numbers(found: FoundJob) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for output in found.job.outputs:
        best = output.statistics.get("fsc_info_best")
        value = best.get("radwn_final_A") if isinstance(best, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1000:
            numbers.setdefault(RESOLUTION, float(value))
    return numbers


def _log_notes(found: FoundJob) -> list[str]:
    if found.log is None:
        return []
    return [f"CryoSPARC warned: {text}" for text in found.log.warnings]
