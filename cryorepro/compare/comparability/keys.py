"""The science key and the performance key of a run, as canonical JSON with its digest.

The science key holds what decides the numbers: data, tier, recipe, parameters, metrics, masks, symmetry, box, seed
policy. The performance key adds what decides the times. Programs are in the performance key and in the context, which
is no part of the science key: another program may well give the same result, and the rule table names it as a caveat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cryorepro.compare.comparability.performance import performance_key, program_of
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
    return _keys(record, science_key(record, benchmark))


def _keys(record: Mapping[str, Any], science: Key) -> Keys:
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


def known_keys(record: Mapping[str, Any], benchmark: Benchmark) -> Keys:
    """As :func:`keys_of`, with metrics and connections as the run itself recorded them.

    The benchmark that a run is judged with may define them otherwise than its own copy did.
    """
    recorded = record.get("keys")
    if not recorded or recorded["version"] != KEY_VERSION:
        return keys_of(record, benchmark)
    own: Key = recorded["science"]
    science = science_key(record, benchmark)
    science["metrics"] = own["metrics"]
    science["recipe"] = {
        name: {**stage, "parameters": science["recipe"].get(name, stage)["parameters"]}
        for name, stage in own["recipe"].items()
    }
    return _keys(record, science)


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
        "program": {name: program_of(stage) for name, stage in record["stages"].items()},
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


def _without(parameters: Mapping[str, Any], names: set[str]) -> Key:
    return {name: value for name, value in parameters.items() if name not in names}
