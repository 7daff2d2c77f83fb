"""A run's events as the workflow writes them, for tests of what reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cryorepro.store.home import Home
from cryorepro.store.journal import Journal
from cryorepro.store.seal import seal_run


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def created(run_uid: str, seed: int = 1) -> dict[str, Any]:
    return {
        "run_uid": run_uid,
        "benchmark": "empiar-10028",
        "benchmark_version": 1,
        "spec_sha256": digest("spec"),
        "dataset": "empiar-10028",
        "tier": "twin",
        "tier_parameters": {"particles": 400},
        "seed": seed,
        "runners": {"class3d": "relion-like", "refine3d": "relion"},
        "command": ["cryorepro", "reproduce", "empiar-10028"],
        "parameters": {"class3d": {"classes": 3}},
        "cryorepro_version": "0.1.0",
        "plugins": [{"distribution": "cryorepro", "version": "0.1.0", "plugin": "relion"}],
    }


def stage_events(stage: str, index: int, seed: int, from_stage: str | None) -> list[tuple[str, dict[str, Any]]]:
    particles = {"role": "particles", "path": "in/particles.star", "sha256": digest(f"{seed} particles")}
    source = {**particles, "size_bytes": 10, "from_stage": from_stage}
    if from_stage is not None:
        source["sha256"] = digest(f"{seed} {from_stage}")
    plan = {
        "stage": stage,
        "index": index,
        "kind": stage,
        "runner": "relion",
        "argv": ["relion_refine", "--o", stage],
    }
    used = {"wall_seconds": 2.5, "cpu_seconds": 4.0, "peak_memory_bytes": 1000 + index, "read_bytes": 7}
    output = {
        "role": "map",
        "path": f"stages/{stage}/map.mrc",
        "sha256": digest(f"{seed} {stage}"),
        "size_bytes": 99,
    }
    return [
        ("stage_planned", {**plan, "seed": seed, "parameters": {"k": 3}, "inputs": [source]}),
        ("stage_started", {"stage": stage, "attempt": 1, "pid": 7, "resumed": False}),
        ("stage_ended", {
            "stage": stage, "attempt": 1, "status": "completed", "exit_code": 0, "signal": None,
            "failure_class": None, "message": None, "started_at": 1763637305.25,
            "ended_at": "2026-11-20T11:15:08.000000Z", **used,
            "written_bytes": 8,
        }),
        ("stage_outputs", {
            "stage": stage, "outputs": [output], "iterations": 25, "rows": {"particles": 400}, "seed": seed,
            "numbers": {"resolution": 20.5}, "notes": [],
        }),
    ]  # fmt: skip


def opening_events(run_uid: str, seed: int = 1) -> list[tuple[str, dict[str, Any]]]:
    probes = [
        {
            "name": "cpu",
            "plugin": "probes",
            "status": "ok",
            "seconds": 0.1,
            "error": None,
            "data": {"cores": 2},
        },
        {
            "name": "gpu",
            "plugin": "probes",
            "status": "failed",
            "seconds": 0.2,
            "error": "no NVML",
            "data": {},
        },
    ]
    erratum = {"id": "stray-token", "file": "shiny.star", "evidence": "line 7", "action": "token dropped"}
    particles = {"role": "particles", "path": "in/particles.star", "sha256": digest(f"{seed} particles")}
    return [
        ("run_created", created(run_uid, seed)),
        ("attempt_started", {"attempt": 1, "pid": 42, "host_hash": "ab", "boot_id": "cd"}),
        ("fingerprint_recorded", {"probes": probes}),
        ("data_prepared", {
            "dataset": "empiar-10028", "tier": "twin", "files": [{**particles, "size_bytes": 10}],
            "rows": {"particles": 400}, "errata": [erratum], "origin": "simulated", "truth": True,
        }),
    ]  # fmt: skip


def result_events(seed: int) -> list[tuple[str, dict[str, Any]]]:
    value = {"value": 20.5, "unit": "angstrom", "shell": 24, "box_px": 128, "pixel_size_angstrom": 3.84}
    return [
        ("outcome_measured", {
            "outcome": "resolution", "metric": "fsc", "stage": "refine3d", "status": "measured",
            "reason": None,
            "value": {**value, "details": {"masked": True}, "artifacts": ["stages/refine3d/map.mrc"]},
            "artifacts": {"stages/refine3d/map.mrc": digest(f"{seed} refine3d")},
        }),
        ("outcome_measured", {
            "outcome": "class_accuracy", "metric": "accuracy", "stage": "class3d", "status": "unverifiable",
            "value": None, "reason": "artifact 'data' is not the file the stage wrote", "artifacts": {},
        }),
        ("verdict_given", {
            "outcome": "resolution", "claim": None, "self_check": True, "axis_outcome": "equivalent",
            "axis_performance": "not-comparable", "axis_assurance": "self-repeat", "reason": "within a shell",
            "expected": "shell 24", "measured": "shell 24", "margin": "1 shell", "margin_reason": "seeds",
        }),
        ("verdict_given", {
            "outcome": "resolution", "claim": "wong-2014", "self_check": False, "reason": "a twin",
            "axis_outcome": "not-attempted", "expected": 3.2, "measured": None, "needs": "54 GB",
        }),
    ]  # fmt: skip


def complete_events(run_uid: str, seed: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """Everything between the creation of a run and its end."""
    return [
        *opening_events(run_uid, seed),
        *stage_events("class3d", 1, seed, None),
        *stage_events("refine3d", 2, seed, "class3d"),
        *result_events(seed),
        ("attempt_ended", {"attempt": 1, "status": "completed", "elapsed_seconds": 5.5, "reason": None}),
        ("something_new", {"kept": "in events only"}),
        (
            "run_ended",
            {"status": "completed", "elapsed_seconds_all_attempts": 5.5, "verdict": {"self": "equivalent"}},
        ),
    ]


def write_events(journal: Journal, events: list[tuple[str, dict[str, Any]]]) -> None:
    for kind, data in events:
        journal.append(kind, data)


def write_run(home: Home, seed: int = 1, sealed: bool = True) -> Path:
    """A complete run with a name of its own; its directory."""
    run_uid, directory = home.new_run()
    journal = Journal.create(directory)
    write_events(journal, complete_events(run_uid, seed))
    if sealed:
        seal_run(journal, "completed", {"resolution": 20.5})
    journal.close()
    return directory
