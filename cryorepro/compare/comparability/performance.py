"""The performance key: what decides the times of a run, beside what decides its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.compare.comparability.rules import rule_table

Key = dict[str, Any]


def performance_key(record: Mapping[str, Any], science_sha256: str) -> Key:
    """What decides the times of a run, beside what decides its numbers."""
    settings = record["settings"]
    probes = {probe["name"]: probe["data"] for probe in record["fingerprint"] if probe["status"] == "ok"}
    cpu, stages = probes.get("cpu", {}), record["stages"]
    apart = rule_table().run_time_parameters
    return {
        "science_sha256": science_sha256,
        "stages": {
            name: {"kind": stage.get("kind"), "iterations": stage.get("iterations"), "program": program_of(stage)}
            for name, stage in stages.items()
        },
        "device": settings["device"],
        "gpu": _gpus(probes.get("gpu", {})) if settings["device"] != "cpu" else {},
        "cpu": {name: cpu.get(name) for name in ("model", "affinity_cores", "usable_cores", "smt_active")},
        "layout": {
            "threads": settings["threads"],
            "executor": settings["executor"],
            "ranks": {
                name: found
                for name, row in settings["parameters"].items()
                if (found := {key: row[key] for key in apart if key in row})
            },
        },
        "storage": _storage(probes.get("filesystems", {}).get("roles", {})),
        "cache": settings.get("cache", "any"),
        "precision": {
            "relion": probes.get("relion", {}).get("precision"),
            "torch": _precision_variables(probes.get("pytorch", {}).get("environment") or {}),
        },
        "container": {name: probes.get("container", {}).get(name) for name in ("kind", "image_sha256")},
    }


def _precision_variables(environment: Mapping[str, str]) -> Key:
    """Without the thread counts and hash seed of the caller: every stage is given its own."""
    return {name: value for name, value in environment.items() if not name.endswith(("_NUM_THREADS", "HASHSEED"))}


def program_of(stage: Mapping[str, Any]) -> str:
    """Runner, program and version of a stage."""
    program = stage.get("program", {})
    return " ".join(part for part in (stage.get("runner"), program.get("name"), program.get("version")) if part)


def _gpus(probe: Mapping[str, Any]) -> Key:
    gpus = probe.get("gpus", [])
    return {
        "count": len(gpus),
        "models": sorted(str(gpu.get("name")) for gpu in gpus),
        "memory_bytes": sorted(gpu.get("memory_total_bytes") or 0 for gpu in gpus),
        "power_cap_mw": sorted(gpu.get("power_limit_mw") or 0 for gpu in gpus),
        "mig": sorted(str(gpu.get("mig")) for gpu in gpus),
    }


def _storage(roles: Mapping[str, Mapping[str, Any]]) -> Key:
    return {
        role: " ".join(str(part) for part in (
            found.get("place"), (found.get("device") or {}).get("class"), found.get("type"),
        ) if part)
        for role, found in sorted(roles.items())
    }  # fmt: skip
