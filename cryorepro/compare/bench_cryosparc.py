"""Benchmark records in CryoSPARC's own field names: ours written so, theirs read.

Names are those of ``PerformanceBenchmark``, ``ReferencePerformanceBenchmark`` and ``InstanceInformation`` in the public
models of cryosparc-tools (``cryosparc/models/benchmarks.py`` and ``instance.py``, version 5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.bench import BenchRecord, BenchTest

TYPES = ("fs", "cpu", "gpu")
MOST_TESTS = 10_000


def is_cryosparc(content: Any) -> bool:
    """Whether a JSON document is a benchmark of CryoSPARC's, or a list of such."""
    parts = content if isinstance(content, list) else [content]
    return bool(parts) and all(isinstance(part, dict) and "timings" in part for part in parts)


def to_cryosparc(record: BenchRecord) -> list[dict[str, Any]]:
    """One ``ReferencePerformanceBenchmark`` for each type that CryoSPARC knows.

    ``cryosparc_version`` says that this is not CryoSPARC's, and paths and host names, which its models have fields for,
    stay empty. Sub-timings lie below their test, beside its ``total``.
    """
    probes = {probe.name: probe.data for probe in record.fingerprint if probe.status == "ok"}
    gpus = probes.get("gpu", {}).get("gpus", [])
    groups = dict.fromkeys(test.group for test in record.tests)
    return [
        {
            "type": group,
            "title": record.title or "",
            "created_at": record.created_at,
            "cryosparc_version": f"none (cryorepro {record.cryorepro_version})",
            "instance_information": _instance(probes),
            "job_params": record.settings,
            "timings": {test.name: _timing(test) for test in record.tests if test.group == group},
            "gpu_name": gpus[0].get("name") if gpus and group == "gpu" else None,
        }
        for group in groups
    ]


def _timing(test: BenchTest) -> dict[str, Any]:
    return {"total": test.median_seconds, **test.sub_seconds}


def _instance(probes: dict[str, Any]) -> dict[str, Any]:
    cpu, memory, system, gpu = (probes.get(name, {}) for name in ("cpu", "memory", "system", "gpu"))
    khz = (cpu.get("frequency") or {}).get("maximum_khz") or 0
    return {
        "platform_node": "",
        "platform_release": system.get("kernel_release") or "",
        "platform_architecture": system.get("architecture") or "",
        "cpu_model": cpu.get("model") or "",
        "physical_cores": cpu.get("cores_physical") or 0,
        "max_cpu_freq": khz / 1000.0,
        "total_memory": f"{(memory.get('total_bytes') or 0) / 2**30:.2f}GB",
        "available_memory": f"{(memory.get('available_bytes') or 0) / 2**30:.2f}GB",
        "ofd_soft_limit": (system.get("limits") or {}).get("open_files") or 0,
        "driver_version": gpu.get("driver"),
        "CUDA_version": gpu.get("cuda_driver"),
    }


def from_cryosparc(content: Any, where: str) -> BenchRecord:
    """A record that CryoSPARC made, to lie beside ours: every number in its ``timings``, by dotted name.

    ``content`` is one benchmark or several of one machine. Only benchmarks of one CryoSPARC version are comparable.

    Raises:
        InputError: ``type``, ``timings`` or a time are not what its model says.
    """
    parts = content if isinstance(content, list) else [content]
    tests = [test for part in parts for test in _tests(part, where)]
    if not tests:
        raise InputError(f"{where}: timings hold no number of seconds")
    names = [test.name for test in tests]
    if len(set(names)) != len(names):
        raise InputError(f"{where}: the same test twice")
    version = str(parts[0].get("cryosparc_version", ""))
    return BenchRecord(
        created_at=_date(parts[0].get("created_at")),
        cryorepro_version="",
        title=str(parts[0].get("title") or f"CryoSPARC {version}"),
        source="cryosparc",
        settings={"cryosparc_version": version},
        tests=tuple(tests),
    )


def _tests(part: dict[str, Any], where: str) -> Iterable[BenchTest]:
    group, timings = part.get("type"), part.get("timings")
    if group not in TYPES or not isinstance(timings, dict):
        raise InputError(f"{where}: type must be fs, cpu or gpu and timings a mapping, as in CryoSPARC's records")
    device = str(part.get("gpu_name") or "unknown") if group == "gpu" else "unknown"
    workload = {"cryosparc_version": str(part.get("cryosparc_version", ""))}
    for count, (name, value) in enumerate(_numbers(timings, where)):
        if count >= MOST_TESTS:
            raise InputError(f"{where}: more than {MOST_TESTS:,} times")
        yield BenchTest(
            name=name, group=group, device=device, workload=workload, seconds=(value,), median_seconds=value
        )


def _numbers(value: Any, where: str, prefix: str = "") -> Iterable[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, where, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e12 or not math.isfinite(value):
            raise InputError(f"{where}: timings.{prefix}: {value} is no time in seconds")
        yield prefix, float(value)


def _date(value: Any) -> str:
    """MongoDB's own JSON writes ``{"$date": …}``."""
    return str(value.get("$date", "")) if isinstance(value, dict) else str(value or "")
