"""The processor: what it is, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from cryorepro_probes.kernel import Recorded, cgroup_values, key_values, read, read_int


class CpuProbe(Recorded):
    """Processor model, flags, caches, usable cores, frequency policy, load."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.devices = root / "sys/devices/system/cpu"

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """Core counts are of processors this process may be scheduled on unless they say otherwise."""
        affinity = sorted(os.sched_getaffinity(0))
        quota = self.quota_cores()
        return {
            **self._identity(),
            "cores_physical": psutil.cpu_count(logical=False),
            "cores_logical": psutil.cpu_count(logical=True),
            "affinity_cores": len(affinity),
            "affinity": ranges(affinity),
            "cgroup_quota_cores": quota,
            "usable_cores": min(float(len(affinity)), quota if quota is not None else float("inf")),
            "numa_nodes": len(list((self.root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
            "numa": self._numa(),
            "smt_active": _flag(read(self.devices / "smt/active")),
            "smt_control": read(self.devices / "smt/control"),
            "isolated": read(self.devices / "isolated") or None,
            "thermal_throttle_events": self._throttle_events(),
            "caches": self._caches(),
            "frequency": self._frequency(),
            "mitigations": self._mitigations(),
            "load_average_1_5_15_min": [round(value, 2) for value in os.getloadavg()],
        }

    def _identity(self) -> dict[str, Any]:
        info = key_values(read(self.root / "proc/cpuinfo"), ":")
        flags = sorted((info.get("flags") or info.get("Features") or "").split())
        return {
            "architecture": platform.machine(),
            "model": info.get("model name") or info.get("CPU part"),
            "vendor": info.get("vendor_id") or info.get("CPU implementer"),
            "family": info.get("cpu family") or info.get("CPU architecture"),
            "model_number": info.get("model") or info.get("CPU variant"),
            "stepping": info.get("stepping") or info.get("CPU revision"),
            "microcode": info.get("microcode"),
            "flags": flags,
            "virtualised": "hypervisor" in flags,
        }

    def quota_cores(self) -> float | None:
        """Cores' worth of time the control groups grant; None without a limit. The tightest group counts."""
        quotas = [_v2_cores(text) for text in cgroup_values(self.root, "cpu", "cpu.max", "cpu.max")]
        periods = cgroup_values(self.root, "cpu", "cpu.cfs_period_us", "cpu.cfs_period_us")
        micros = cgroup_values(self.root, "cpu", "cpu.cfs_quota_us", "cpu.cfs_quota_us")
        quotas += [_v2_cores(f"{quota} {period}") for quota, period in zip(micros, periods, strict=False)]
        limits = [quota for quota in quotas if quota is not None]
        return min(limits) if limits else None

    def _caches(self) -> list[dict[str, str | None]]:
        indices = sorted((self.devices / "cpu0/cache").glob("index[0-9]*"))
        return [
            {part: read(index / part) for part in ("level", "type", "size", "shared_cpu_list")} for index in indices
        ]

    def _numa(self) -> list[dict[str, Any]]:
        """Nodes with their processors and their distance to every node, as the firmware tells it."""
        nodes = sorted((self.root / "sys/devices/system/node").glob("node[0-9]*"), key=lambda path: int(path.name[4:]))
        return [
            {"index": int(node.name[4:]), "cpus": read(node / "cpulist"), "distances": read(node / "distance")}
            for node in nodes
        ]

    def _throttle_events(self) -> int | None:
        counts = [read_int(path) for path in self.devices.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def _frequency(self) -> dict[str, Any]:
        policies = sorted(self.devices.glob("cpu[0-9]*/cpufreq"))
        first = policies[0] if policies else self.devices / "cpu0/cpufreq"
        no_turbo = read(self.devices / "intel_pstate/no_turbo")
        boost = read(self.devices / "cpufreq/boost")
        return {
            "governors": sorted({text for policy in policies if (text := read(policy / "scaling_governor"))}),
            "driver": read(first / "scaling_driver"),
            "energy_preference": read(first / "energy_performance_preference"),
            "minimum_khz": read_int(first / "cpuinfo_min_freq"),
            "maximum_khz": read_int(first / "cpuinfo_max_freq"),
            "boost": _flag(boost) if boost is not None else (None if no_turbo is None else no_turbo == "0"),
        }

    def _mitigations(self) -> dict[str, str | None]:
        return {path.name: read(path) for path in sorted((self.devices / "vulnerabilities").glob("*"))}


def ranges(numbers: list[int]) -> str:
    """Sorted integers as ``0-3,8``, the notation of cpusets."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _v2_cores(text: str) -> float | None:
    quota, _, period = text.partition(" ")
    try:
        limit, per = int(quota), int(period)
    except ValueError:
        return None
    return limit / per if limit > 0 and per > 0 else None


def _flag(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")
