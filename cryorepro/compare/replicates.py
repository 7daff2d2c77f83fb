"""What the times of a run can be held against: its replicates on the same machine, the machine's repeatability."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cryorepro.compare.fingerprints import diff_fingerprints
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.workflow.bench.noise import median_interval

Run = Mapping[str, Any]
Standing = Literal["faster", "slower", "within-noise", "other-work", "no-calibration"]

MOST_READ = 50
"""Newest runs of the same benchmark that are looked at for replicates."""
_SAME = ("benchmark", "benchmark_version", "spec_sha256", "tier", "tier_parameters", "data_seed", "threads", "device",
         "executor", "runners", "parameters", "cryorepro_version")  # fmt: skip


def noise_of(record: Run, others: Iterable[Run]) -> dict[str, Any]:
    """Replicates, their order in time, median and interval of each stage, and the machine's own repeatability.

    A replicate did the same work (its seed may differ) on a machine that differs in nothing that changes times.
    """
    before = [other for other in others if other["run"] != record["run"]]
    replicates = sorted([record, *(other for other in before if replicates_of(record, other))], key=_created)
    first, last = _created(replicates[0]), _created(replicates[-1])
    names = {replicate["run"] for replicate in replicates}
    between = sum(first < _created(other) < last for other in before if other["run"] not in names)
    return {
        "replicates": len(replicates),
        "runs": [replicate["run"] for replicate in replicates],
        "interleaving": _interleaving(len(replicates), between),
        "stages": {name: _stage(name, replicates) for name in record["stages"]},
        "calibration": record.get("calibration"),
    }


def replicates_of(record: Run, other: Run) -> bool:
    """Whether ``other`` is a completed repetition of ``record`` on the same machine."""
    if other["status"] != "completed" or any(_setting(record, name) != _setting(other, name) for name in _SAME):
        return False
    left, right = ([ProbeResult.model_validate(probe) for probe in run["fingerprint"]] for run in (record, other))
    return bool(left) and diff_fingerprints(left, right).comparable_times


def standing(first: Run, second: Run, stage: str) -> Standing | None:
    """What the second run's wall time of ``stage`` is to the first's, beyond both machines' noise; None without both.

    With no calibration on either side nothing is called a difference.
    """
    pair = [run["stages"].get(stage) for run in (first, second)]
    times = [_wall(one) for one in pair]
    if pair[0] is None or pair[1] is None or not times[0] or not times[1]:
        return None
    if any(pair[0].get(name) != pair[1].get(name) for name in ("runner", "parameters", "iterations", "threads")):
        return "other-work"
    if _data(first) != _data(second):
        return "other-work"
    limit = smallest_visible([first, second])
    if limit is None:
        return "no-calibration"
    if abs(times[0] / times[1] - 1.0) <= limit:
        return "within-noise"
    return "faster" if times[1] < times[0] else "slower"


def smallest_visible(runs: Sequence[Run]) -> float | None:
    """Relative difference of single times that exceeds the noise of every machine; None if one was not measured."""
    calibrations = [run.get("calibration") for run in runs]
    limits = [calibration.get("smallest_visible_once") for calibration in calibrations if calibration]
    known = [float(limit) for limit in limits if limit is not None]
    return max(known) if len(known) == len(runs) else None


def _stage(name: str, replicates: Sequence[Run]) -> dict[str, Any]:
    stages = [replicate["stages"].get(name) or {} for replicate in replicates]
    times = [time for stage in stages if (time := _wall(stage)) and len(stage.get("attempts", [])) == 1]
    interval = median_interval(times)
    return {
        "wall_seconds": times,
        "median_seconds": statistics.median(times) if times else None,
        "interval": interval.model_dump() if interval else None,
        "perturbed": sum(bool(stage.get("perturbed")) for stage in stages),
    }


def _interleaving(replicates: int, between: int) -> str:
    if replicates < 2:
        return "none: one run"
    return (
        f"with {between} other run{'' if between == 1 else 's'} of this benchmark"
        if between
        else "none: one after another"
    )


def _wall(stage: Mapping[str, Any] | None) -> float | None:
    return stage["usage"]["wall_seconds"] if stage and stage.get("usage") else None


def _data(run: Run) -> dict[str, str]:
    return {entry["role"]: entry["sha256"] for entry in (run["data"] or {"files": []})["files"]}


def _setting(run: Run, name: str) -> Any:
    return run["settings"].get(name)


def _created(run: Run) -> str:
    return str(run["created"])
