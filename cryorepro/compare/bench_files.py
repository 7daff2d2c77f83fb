"""Benchmark records as files: ours as JSON and CSV, CryoSPARC's in its own field names, and the registry's check."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.bench import BENCH_VERSION, BenchRecord, BenchTest
from cryorepro.model.shipped import shipped

LARGEST_BYTES = 16_000_000
_PERSONAL = re.compile(r"(?<![\w.<>])/(?:home|Users|root|mnt|data|scratch|gpfs|lustre)/|[\w.+-]+@[\w-]+\.\w{2,}")


def load_bench(name: str) -> BenchRecord:
    """A record from a JSON file, ours or CryoSPARC's, or the reference of that name in the registry.

    Raises:
        InputError: missing, too large, malformed, or not a record.
    """
    path = Path(name)
    if path.suffix != ".json" and "/" not in name:
        path = shipped("registry") / "bench" / f"{name}.json"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.json"))
            raise InputError(
                f"{name}: neither a JSON file nor a reference ({', '.join(known) or 'there are none yet'})"
            )
    content = _read(path)
    if isinstance(content, dict) and "timings" in content:
        return from_cryosparc(content, str(path))
    try:
        return BenchRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "record"
        raise InputError(f"{path}: {place}: {first['msg']}") from error


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"{path}: larger than the {LARGEST_BYTES:,} bytes a record may have")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error


def as_csv(record: BenchRecord) -> str:
    """One line a test: name, group, device, tags, repeats, median, interval, rate, stop rule."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "test", "type", "device", "tags", "repeats", "median_seconds", "low_seconds", "high_seconds", "level", "rate",
        "rate_unit", "stop_rule_met", "sub_seconds",
    ])  # fmt: skip
    for test in record.tests:
        bounds = [test.interval.low, test.interval.high, test.interval.level] if test.interval else ["", "", ""]
        writer.writerow([
            test.name, test.group, test.device, " ".join(test.tags), len(test.seconds), test.median_seconds, *bounds,
            test.rate if test.rate is not None else "", test.rate_unit or "", test.stop.met if test.stop else "",
            json.dumps(test.sub_seconds, sort_keys=True) if test.sub_seconds else "",
        ])  # fmt: skip
    return out.getvalue()


def to_cryosparc(record: BenchRecord) -> list[dict[str, Any]]:
    """The record in the field names of CryoSPARC's ``PerformanceBenchmark``, one object for each type it knows.

    Names are those of the public models of cryosparc-tools. ``cryosparc_version`` says that this is not CryoSPARC's,
    and paths and host names, which that model has fields for, stay empty.
    """
    probes = {probe.name: probe.data for probe in record.fingerprint if probe.status == "ok"}
    gpus = probes.get("gpu", {}).get("gpus", [])
    groups = dict.fromkeys(test.group for test in record.tests)
    return [
        {
            "type": group,
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


def from_cryosparc(content: dict[str, Any], where: str) -> BenchRecord:
    """A record that CryoSPARC made, to lie beside ours: every number in its ``timings``, by dotted name.

    Raises:
        InputError: ``type`` or ``timings`` are not what its model says.
    """
    group, timings = content.get("type"), content.get("timings")
    if group not in ("fs", "cpu", "gpu") or not isinstance(timings, dict):
        raise InputError(f"{where}: type must be fs, cpu or gpu and timings a mapping, as in CryoSPARC's records")
    device = str(content.get("gpu_name") or "unknown") if group == "gpu" else "unknown"
    tests = [
        BenchTest(name=name, group=group, device=device, workload={}, seconds=(value,), median_seconds=value)
        for name, value in _numbers(timings)
    ]
    if not tests:
        raise InputError(f"{where}: timings hold no number of seconds")
    return BenchRecord(
        created_at=str(content.get("created_at", "")),
        cryorepro_version="",
        title=str(content.get("title") or f"CryoSPARC {content.get('cryosparc_version', '')}"),
        source="cryosparc",
        settings={"cryosparc_version": str(content.get("cryosparc_version", ""))},
        tests=tuple(tests),
    )


def _numbers(value: Any, prefix: str = "") -> Iterable[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        yield prefix, float(value)


def check_contribution(path: Path) -> list[str]:
    """Everything that keeps the file from being taken into ``registry/bench/``; empty when nothing does.

    Raises:
        InputError: the file cannot be read as a record at all.
    """
    record = load_bench(str(path))
    problems = []
    if record.source != "cryorepro":
        problems.append("only records of cryorepro bench are taken")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{2,60}\.json", path.name):
        problems.append("the file's name must be lower-case letters, digits and hyphens, such as a100-epyc7543.json")
    if record.schema_version != BENCH_VERSION:
        problems.append(f"benchmark version {record.schema_version}; this is version {BENCH_VERSION}")
    if not record.title:
        problems.append("title is missing: a name for the machine that others can read (--title)")
    if not record.fingerprint:
        problems.append("fingerprint is missing")
    problems += [f"perturbed ({flag.get('reason')}): {flag.get('detail')}" for flag in record.perturbed]
    for test in record.tests:
        problems += _test_problems(test)
    personal = _PERSONAL.search(record.model_dump_json())
    if personal:
        problems.append(f"holds what looks personal: '{personal[0]}'")
    return problems


def check_registered(directory: Path | None = None) -> tuple[int, list[str]]:
    """How many records the registry (or a registry of one's own) holds, and what is wrong with them."""
    files = sorted(((directory or shipped("registry")) / "bench").glob("*.json"))
    problems = []
    for path in files:
        try:
            problems += [f"bench/{path.name}: {problem}" for problem in check_contribution(path)]
        except InputError as error:
            problems.append(str(error))
    return len(files), problems


def _test_problems(test: BenchTest) -> list[str]:
    problems = []
    if not test.seconds:
        return [f"{test.name}: no times"]
    if abs(statistics.median(test.seconds) - test.median_seconds) > 1e-5 + 1e-6 * test.median_seconds:
        problems.append(f"{test.name}: median_seconds is not the median of its times")
    if test.median_seconds <= 0:
        problems.append(f"{test.name}: a time of 0 s")
    if (test.checks.get("cached_before") or 0.0) > 0.05:
        problems.append(f"{test.name}: read from a warm cache")
    if test.checks.get("bytes_read", 1) == 0:
        problems.append(f"{test.name}: read nothing")
    return problems
