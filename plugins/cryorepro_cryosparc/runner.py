"""The runner ``cryosparc``: plans a stage as a program that talks to a master, and checks what it brought back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import read_cs
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import read_star
from cryorepro.em.picking.tables import read_picks
from cryorepro.model.stage import Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro_cryosparc.inputs import RECORD, sources
from cryorepro_cryosparc.recipes import KINDS, recipe_of
from cryorepro_cryosparc.settings import VARIABLE, load_settings

PROGRAM = "cryorepro_cryosparc.stage_program"


class CryosparcRunner:
    """Carries stages out as jobs of a CryoSPARC master."""

    def plan(self, request: StageRequest) -> StageCommand:
        """The program with the request; the master is not asked yet.

        Raises:
            InputError: no master is configured, CryoSPARC has no such step, or an input is not given.
        """
        recipe = recipe_of(request.kind, request.parameters)
        if recipe is None:
            what = f"pick by {request.parameters.get('method')}" if request.kind == "picking" else "carry it out"
            raise InputError(f"stage {request.stage}: CryoSPARC cannot {what} (kinds it has: {', '.join(KINDS)})")
        settings = load_settings()
        sources(request, recipe, settings.project)
        argv = [sys.executable, "-P", "-m", PROGRAM, "--request-json", request.model_dump_json()]
        named = {VARIABLE: os.environ[VARIABLE]} if os.environ.get(VARIABLE) else {}
        return StageCommand(argv=argv, environment=named, cwd=request.output_dir)

    def progress(self, request: StageRequest) -> Progress | None:
        """Nothing: a master tells a job's status, which is in the log, not how far it is."""
        del request
        return None

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        """Check every file that was fetched, and read the seed back from the job.

        Raises:
            StageFailure: the record or a file is missing or damaged, or the job used another seed.
        """
        del log
        record = _record(request.output_dir / RECORD)
        for role, name in record["outputs"].items():
            _check(request.output_dir / name, role, record["rows"].get(role))
        seed = record.get("seed")
        if seed is not None and int(seed) != request.seed:
            raise StageFailure("setup", f"CryoSPARC used seed {seed}, not {request.seed}")
        return StageResult(
            outputs={role: Path(name) for role, name in record["outputs"].items()},
            rows=record["rows"],
            seed=None if seed is None else int(seed),
            numbers=record["numbers"],
            notes=[f"CryoSPARC {record['version']}, {_jobs(record)}", *record["notes"]],
        )

    def version(self) -> Mapping[str, str]:
        """Of the tools that talk to the master; the master's own is noted with each stage."""
        try:
            return {"name": "CryoSPARC through cryosparc-tools", "version": version("cryosparc-tools")}
        except PackageNotFoundError:
            return {"name": "CryoSPARC through cryosparc-tools", "version": "not installed"}


def _record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageFailure("incomplete-output", f"{path.name} is missing or damaged") from error
    if not record.get("complete") or not record.get("outputs"):
        raise StageFailure("incomplete-output", f"{path.name}: the stage did not come to its end")
    return record


def _check(path: Path, role: str, rows: int | None) -> None:
    try:
        found = _rows(path)
    except InputError as error:
        raise StageFailure("incomplete-output", f"{role}: {error}") from error
    if rows is not None and found is not None and found != rows:
        raise StageFailure("incomplete-output", f"{role}: {path.name} has {found} rows, not {rows}")


def _rows(path: Path) -> int | None:
    """Rows of a table, images of a stack; None of a map, whose header must fit its size."""
    if path.suffix == ".cs":
        return len(read_cs(path))
    if path.suffix == ".mrcs":
        return read_mrc_header(path).shape[0]
    if path.suffix == ".mrc":
        read_mrc_header(path)
        return None
    if path.name == "particles.star":
        return len(read_particles(path))
    if path.name == "autopick.star":
        return read_picks(path).total
    return read_star(path)["micrographs"].row_count


def _jobs(record: Mapping[str, Any]) -> str:
    jobs = ", ".join(f"{job['type']} {job['uid']}" for job in record["jobs"].values())
    return f"project {record['project']}: {jobs}"
