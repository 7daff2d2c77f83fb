"""Two runs side by side: parameters, environment, outcomes, per-stage times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.compare.fingerprints import Effect, diff_fingerprints
from cryorepro.compare.judge import shown
from cryorepro.compare.replicates import smallest_visible, standing
from cryorepro.model.fingerprint import ProbeResult

Row = tuple[str, Any, Any]


def compare_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What the records of two runs (``workflow.record.run_record``) have apart and in common."""
    return {
        "runs": [first["run"], second["run"]],
        "settings": _differences(_settings(first), _settings(second)),
        "data": _differences(_hashes(first), _hashes(second)),
        "parameters": _differences(_parameters(first), _parameters(second)),
        "machine": _machine(first, second),
        "environment": _differences(_environment(first), _environment(second)),
        "outcomes": _outcomes(first, second),
        "stages": _stages(first, second),
        "repeatability": [first.get("calibration"), second.get("calibration")],
        "smallest_visible": smallest_visible([first, second]),
        "perturbed": [_perturbed(first), _perturbed(second)],
    }


def _differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Row]:
    names = sorted(left.keys() | right.keys())
    return [(name, left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; lists are values."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("benchmark", "benchmark_version", "dataset", "tier", "seed", "data_seed", "threads", "device")
    settings = {name: record["settings"].get(name) for name in names}
    return settings | {f"runner.{stage}": runner for stage, runner in record["settings"]["runners"].items()}


def _hashes(record: Mapping[str, Any]) -> dict[str, Any]:
    data = record["data"] or {"files": []}
    return {entry["role"]: entry["sha256"][:16] for entry in data["files"]}


def _parameters(record: Mapping[str, Any]) -> dict[str, Any]:
    return flatten(record["settings"]["parameters"])


def _environment(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {"cryorepro": record["settings"]["cryorepro_version"]}
    for probe in record["fingerprint"]:
        content = probe["data"] if probe["status"] == "ok" else {"failed": probe["error"]}
        flat.update(flatten(content, probe["name"]))
    for stage in record["stages"].values():
        flat.update(flatten(stage.get("program", {}), f"program.{stage.get('stage')}"))
    return flat


def _machine(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """How many fields of the fingerprints are the same, and the fields that differ by what they can change."""
    left, right = ([ProbeResult.model_validate(probe) for probe in record["fingerprint"]] for record in (first, second))
    diff = diff_fingerprints(left, right)
    effects: tuple[Effect, ...] = ("science", "performance", "neither")
    return {"same": diff.same, **{effect: [row.field for row in diff.with_effect(effect)] for effect in effects}}


def _outcomes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    names = list(dict.fromkeys([*first["outcomes"], *second["outcomes"]]))
    for name in names:
        pair = [record["outcomes"].get(name) for record in (first, second)]
        values = [row["value"]["value"] if row and row["status"] == "measured" else None for row in pair]
        left, right = values
        difference = right - left if left is not None and right is not None else None
        unit = next((row["value"]["unit"] for row in pair if row and row["value"]), "")
        shown_pair = [shown(row) or (row["status"] if row else "not measured") for row in pair]
        rows.append({"outcome": name, "unit": unit, "shown": shown_pair, "difference": difference})
    return rows


def _stages(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name in list(dict.fromkeys([*first["stages"], *second["stages"]])):
        pair = [record["stages"].get(name) for record in (first, second)]
        wall, cpu = ([_usage(stage, key) for stage in pair] for key in ("wall_seconds", "cpu_seconds"))
        rows.append({
            "stage": name,
            "runner": [stage.get("runner") if stage else None for stage in pair],
            "iterations": [stage.get("iterations") if stage else None for stage in pair],
            "wall_seconds": wall,
            "wall_ratio": _ratio(wall),
            "wall_standing": standing(first, second, name),
            "cpu_seconds": cpu,
            "cpu_ratio": _ratio(cpu),
            "peak_memory_bytes": [_usage(stage, "peak_memory_bytes") for stage in pair],
        })  # fmt: skip
    return rows


def _perturbed(record: Mapping[str, Any]) -> list[str]:
    flags = [(name, flag) for name, stage in record["stages"].items() for flag in stage.get("perturbed", [])]
    return [f"{name}: {flag['reason']}: {flag['detail']}" for name, flag in flags]


def _usage(stage: Mapping[str, Any] | None, name: str) -> float | None:
    return stage["usage"][name] if stage and "usage" in stage else None


def _ratio(pair: list[float | None]) -> float | None:
    first, second = pair
    return first / second if first and second else None
