"""Runs of other programs, kept beside imported bundles: ``imported/RUN`` with a journal, a seal and an origin.

The journal is written now, from what an importer read; times are those the other program recorded. An outcome is
measured here from the maps that came with it, or is ``unverifiable``; figures the program reports are only its stages'
numbers. No claim is attempted, because nothing says on which data the program worked.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import yaml

import cryorepro
from cryorepro.bundle.imported import FOLDER, ORIGIN
from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.model.benchmark import Benchmark, OutcomeSpec
from cryorepro.model.dataset import PreparedData
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.model.foreign import ForeignOutcome, ForeignRun, ForeignStage
from cryorepro.model.outcome import Outcome
from cryorepro.plugins.loader import load_catalogue
from cryorepro.store.event import utc_now
from cryorepro.store.home import Home, new_run_uid
from cryorepro.store.journal import Journal
from cryorepro.store.seal import seal_run
from cryorepro.workflow.files import describe, read_json, write_json
from cryorepro.workflow.measure import measure

UNKNOWN = "unknown"
Outputs = list[dict[str, Any]]
LARGEST_KEPT_BYTES = 8 * 1024**3


def import_foreign(home: Home, run: ForeignRun) -> Path:
    """Keep a run of another program; returns its directory.

    Raises:
        InputError: it was imported already, or its files are larger than what is kept.
        StoreError: the store cannot be written.
    """
    home.ensure()
    folder = home.root / FOLDER
    folder.mkdir(exist_ok=True)
    _refuse_again(folder, run)
    size = sum(file.path.stat().st_size for stage in run.stages for file in stage.files)
    if size > LARGEST_KEPT_BYTES:
        raise InputError(f"its tables take {size:,} bytes; at most {LARGEST_KEPT_BYTES:,} are kept with a run")
    uid = new_run_uid()
    draft = folder / f".{uid}.part"
    try:
        _write(draft, uid, run)
        draft.rename(folder / uid)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder / uid


def _refuse_again(folder: Path, run: ForeignRun) -> None:
    for origin in folder.glob(f"*/{ORIGIN}"):
        if read_json(origin).get("source_sha256") == run.source_sha256:
            raise InputError(f"this was imported already, as imported/{origin.parent.name}")


def _write(draft: Path, uid: str, run: ForeignRun) -> None:
    draft.mkdir()
    spec = yaml.safe_dump(_spec(run), sort_keys=False, allow_unicode=True, width=120)
    (draft / "spec.yaml").write_text(spec, encoding="utf-8")
    write_json(draft / ORIGIN, {
        "origin": run.program,
        "source_sha256": run.source_sha256,
        "title": run.title,
        "imported": utc_now(),
        "notes": run.notes,
    })  # fmt: skip
    with Journal.create(draft) as journal:
        journal.append("run_created", _created(uid, run, spec))
        journal.append("attempt_started", {"attempt": 1})
        probes = [_probe(run.program, name, data) for name, data in sorted(run.machine.items())]
        journal.append("fingerprint_recorded", {"probes": probes, "calibration": None})
        outputs = {
            stage.name: _write_stage(journal, draft, run.program, index, stage)
            for index, stage in enumerate(run.stages, 1)
        }
        outcomes = [_outcome(draft, run, spec, outputs) for spec in run.outcomes]
        for outcome in outcomes:
            said = outcome.model_dump(mode="json")
            journal.append("outcome_measured", {"outcome": said.pop("name"), **said})
        _end(journal, run, outcomes)


def _outcome(draft: Path, run: ForeignRun, spec: ForeignOutcome, outputs: dict[str, Outputs]) -> Outcome:
    """Measured from half maps that came with a stage that completed, else unverifiable with the importer's reason."""
    stage = next(stage for stage in run.stages if stage.name == spec.stage)
    roles = {entry["role"] for entry in outputs[spec.stage]}
    known = {"name": spec.name, "metric": spec.metric, "stage": spec.stage}
    if stage.status != "completed" or not {"half1", "half2"} <= roles:
        return Outcome(**known, status="unverifiable", reason=spec.reason)
    half = next(entry["path"] for entry in outputs[spec.stage] if entry["role"] == "half1")
    data = PreparedData(files={}, pixel_size_angstrom=_pixel_size(draft / half), voltage_kv=0.0, origin=run.program)
    job = {
        "run": str(draft),
        "stages": {spec.stage: {"outputs": outputs[spec.stage], "parameters": {}, "numbers": stage.numbers}},
        "data": {"truth": [], "prepared": data.model_dump(mode="json")},
    }
    return measure(load_catalogue(), job, OutcomeSpec(**known))


def _pixel_size(half: Path) -> float:
    try:
        return read_mrc_header(half).voxel_size_angstrom[0]
    except InputError:
        return 0.0  # the metric reads the map itself and says what is wrong with it


def _end(journal: Journal, run: ForeignRun, outcomes: list[Outcome]) -> None:
    times = [stage.wall_seconds for stage in run.stages if stage.status != "not-attempted"]
    known = [seconds for seconds in times if seconds is not None]
    total = sum(known) if len(known) == len(times) and times else None
    failed = next((stage for stage in run.stages if stage.status == "failed"), None)
    reason = None if failed is None else f"{failed.name}: {failed.message or 'failed'}"
    if run.status == "interrupted":
        reason = "not every job of it ran to its end"
    ended = {"attempt": 1, "status": run.status, "elapsed_seconds": total, "reason": reason}
    journal.append("attempt_ended", ended)
    journal.append("run_ended", {"status": run.status, "reason": reason, "elapsed_seconds_all_attempts": total})
    seal_run(journal, run.status, {row.name: row.value.value if row.value else row.status for row in outcomes})


def _spec(run: ForeignRun) -> dict[str, Any]:
    """A benchmark that says what was run and claims nothing, so that every command can read the run."""
    stages = [
        {"name": stage.name, "kind": stage.kind, "inputs": stage.inputs, "parameters": stage.parameters}
        for stage in run.stages
    ]
    outcomes = [{"name": o.name, "metric": o.metric, "stage": o.stage, "tiers": ["full"]} for o in run.outcomes]
    spec = Benchmark.model_validate({
        "schema_version": 1, "name": run.name, "version": "0.0", "title": run.title, "summary": run.summary,
        "dataset": UNKNOWN, "default_runner": run.program, "default_tier": "full", "tiers": {"full": {}},
        "sources": [f"what {run.program} left behind"], "stages": stages, "outcomes": outcomes,
    })  # fmt: skip
    return spec.model_dump(mode="json", exclude_defaults=False)


def _created(uid: str, run: ForeignRun, spec: str) -> dict[str, Any]:
    return {
        "run_uid": uid,
        "benchmark": run.name,
        "benchmark_version": "0.0",
        "spec_sha256": hashlib.sha256(spec.encode()).hexdigest(),
        "dataset": UNKNOWN,
        "tier": UNKNOWN,
        "tier_parameters": {},
        "seed": None,
        "data_seed": None,
        "threads": None,
        "device": UNKNOWN,
        "executor": run.program,
        "deterministic": False,
        "cache": "any",
        "runners": {stage.name: run.program for stage in run.stages},
        "parameters": {stage.name: stage.parameters for stage in run.stages},
        "command": [],
        "cryorepro_version": cryorepro.__version__,
        "plugins": [],
    }


def _probe(program: str, name: str, data: dict[str, Any]) -> dict[str, Any]:
    return ProbeResult(name=name, plugin=program, status="ok", seconds=0.0, data=data).model_dump(mode="json")


def _write_stage(journal: Journal, draft: Path, program: str, index: int, stage: ForeignStage) -> Outputs:
    journal.append("stage_planned", {
        "stage": stage.name, "index": index, "kind": stage.kind, "runner": program, "program": stage.program,
        "argv": [], "environment": {}, "parameters": stage.parameters, "departures": [], "seed": None, "threads": None,
        "inputs": [],
    })  # fmt: skip
    if stage.status == "not-attempted":
        return []
    journal.append("stage_started", {"stage": stage.name, "attempt": 1, "resumed": False, "started_at": None})
    journal.append("stage_ended", {
        "stage": stage.name, "attempt": 1, "status": stage.status, "exit_code": None,
        "failure_class": "runtime" if stage.status == "failed" else None, "message": stage.message,
        "started_at": stage.started_at, "ended_at": stage.ended_at, "wall_seconds": stage.wall_seconds,
        "peak_memory_bytes": stage.peak_memory_bytes, "cpu_seconds": None, "read_bytes": None, "written_bytes": None,
    })  # fmt: skip
    folder = draft / "stages" / f"{index:02d}-{stage.name}"
    outputs = []
    for number, file in enumerate(stage.files):
        target = folder / f"{number:03d}-{file.path.name}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path, target)
        outputs.append(describe(file.role, target, draft))
    journal.append("stage_outputs", {
        "stage": stage.name, "outputs": outputs, "iterations": None, "rows": stage.rows, "seed": None,
        "numbers": stage.numbers, "notes": stage.notes,
    })  # fmt: skip
    return outputs
