"""The science key and the performance key of a run, as canonical JSON with its digest.

The science key holds what decides the numbers: data, tier, recipe, parameters, metrics, masks, symmetry, box, seed
policy. The performance key adds what decides the times. Programs are in the performance key and in the context, which
is no part of the science key: another program may well give the same result, and the rule table names it as a caveat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cryorepro.compare.comparability.rules import rule_table
from cryorepro.model.base import Record
from cryorepro.model.benchmark import Benchmark
from cryorepro.store.event import canonical_json

KEY_VERSION = 1
"""Raised when the same run would get another key."""
SEED_POLICY = "stage seeds from the run's seed by sha256 of its name; read back"
_MASKING = ("flatten_solvent", "zero_mask", "solvent_correct_fsc", "solvent_mask")

Key = dict[str, Any]


class Keys(Record):
    """Both keys of a run with their digests, and the context that is neither."""

    version: int
    rules_version: int
    science: Key
    science_sha256: str
    performance: Key
    performance_sha256: str
    context: Key


def keys_of(record: Mapping[str, Any], benchmark: Benchmark) -> Keys:
    """The keys of a run, from its record (``workflow.record.run_record``) and the benchmark it was started with."""
    science = science_key(record, benchmark)
    performance = performance_key(record, digest(science))
    return Keys(
        version=KEY_VERSION,
        rules_version=rule_table().version,
        science=science,
        science_sha256=digest(science),
        performance=performance,
        performance_sha256=digest(performance),
        context=_context(record),
    )


def digest(key: Key) -> str:
    """SHA-256 of the key's canonical JSON."""
    return hashlib.sha256(canonical_json(key)).hexdigest()


def science_key(record: Mapping[str, Any], benchmark: Benchmark) -> Key:
    """What decides the numbers of a run."""
    settings = record["settings"]
    parameters: Mapping[str, Mapping[str, Any]] = settings["parameters"]
    apart = {*rule_table().run_time_parameters, *_MASKING, "symmetry"}
    return {
        "benchmark": {"name": settings["benchmark"], "recipe": settings["benchmark_version"].partition(".")[0]},
        "dataset": _dataset(record),
        "recipe": {
            stage.name: {
                "kind": stage.kind,
                "inputs": dict(stage.inputs),
                "parameters": _without(parameters.get(stage.name, {}), apart),
            }
            for stage in benchmark.stages
        },
        "symmetry": {name: row["symmetry"] for name, row in parameters.items() if "symmetry" in row},
        "mask": {name: found for name in parameters if (found := _mask(name, parameters, benchmark))},
        "box": _box(record),
        "metrics": {
            spec.name: {"metric": spec.metric, "stage": spec.stage, "parameters": spec.parameters}
            for spec in benchmark.outcomes
            if settings["tier"] in spec.tiers
        },
        "seeds": {"policy": SEED_POLICY, "deterministic": bool(settings.get("deterministic", False))},
    }


def performance_key(record: Mapping[str, Any], science_sha256: str) -> Key:
    """What decides the times of a run, beside what decides its numbers."""
    settings = record["settings"]
    probes = {probe["name"]: probe["data"] for probe in record["fingerprint"] if probe["status"] == "ok"}
    cpu, stages = probes.get("cpu", {}), record["stages"]
    apart = rule_table().run_time_parameters
    return {
        "science_sha256": science_sha256,
        "stages": {
            name: {"kind": stage.get("kind"), "iterations": stage.get("iterations"), "program": _program(stage)}
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
            "torch": probes.get("pytorch", {}).get("environment"),
        },
        "container": {name: probes.get("container", {}).get(name) for name in ("kind", "image_sha256")},
    }


def _dataset(record: Mapping[str, Any]) -> Key:
    settings, data = record["settings"], record["data"] or {"files": [], "rows": {}, "errata": []}
    simulated = settings["tier"] == "twin"
    return {
        "name": settings["dataset"],
        "tier": settings["tier"],
        "parameters": settings["tier_parameters"],
        "seed": None if settings["tier"] == "full" else settings["data_seed"],
        "rows": data["rows"],
        "errata": sorted(erratum["id"] for erratum in data["errata"]),
        "files": {} if simulated else {entry["role"]: entry["sha256"] for entry in data["files"]},
    }


def _context(record: Mapping[str, Any]) -> Key:
    """What changes neither key by itself: programs, versions, the bytes of a simulated tier."""
    data = record["data"] or {"files": []}
    simulated = record["settings"]["tier"] == "twin"
    return {
        "program": {name: _program(stage) for name, stage in record["stages"].items()},
        "cryorepro": record["settings"]["cryorepro_version"],
        "simulated": {entry["role"]: entry["sha256"] for entry in data["files"]} if simulated else {},
        "benchmark_version": record["settings"]["benchmark_version"],
        "seed": record["settings"]["seed"],
    }


def _mask(stage: str, parameters: Mapping[str, Mapping[str, Any]], benchmark: Benchmark) -> Key:
    found: Key = {name: parameters[stage][name] for name in _MASKING if name in parameters[stage]}
    spec = next((spec for spec in benchmark.stages if spec.name == stage), None)
    if spec is not None and "mask" in spec.inputs:
        found["from"] = spec.inputs["mask"]
    return found


def _box(record: Mapping[str, Any]) -> Key:
    """Box and pixel size of the data, and of each outcome that has its own."""
    data = record["data"] or {}
    own = {
        name: {key: row["value"][key] for key in ("box_px", "pixel_size_angstrom")}
        for name, row in record["outcomes"].items()
        if row["value"] and row["value"].get("box_px")
    }
    return {"box_px": data.get("box_px"), "pixel_size_angstrom": data.get("pixel_size_angstrom"), "outcomes": own}


def _program(stage: Mapping[str, Any]) -> str:
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


def _without(parameters: Mapping[str, Any], names: set[str]) -> Key:
    return {name: value for name, value in parameters.items() if name not in names}
