"""Counters of the machine and of this process's control group, read from /proc and /sys."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_CPU = re.compile(r"^cpu(\d+) (.+)$", re.MULTILINE)

Counters = dict[str, float | None]


def text_of(path: str) -> str | None:
    """Text of a kernel file; None when it is absent or refuses."""
    try:
        with open(path) as stream:  # noqa: PTH123 - read every second: without the detour over Path
            return stream.read()
    except (OSError, ValueError):
        return None


class Machine:
    """Reads counters and levels; what this machine does not have is looked for once."""

    def __init__(self) -> None:
        self.cores = os.sched_getaffinity(0)
        self._throttle = _paths("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")
        self._clocks = _paths("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
        self._zones = _paths("/sys/class/thermal/thermal_zone*/temp")
        self._packages = [path for path in _paths("/sys/class/powercap/intel-rapl:?/energy_uj") if text_of(path)]
        self._pressure = {name: f"/proc/pressure/{name}" for name in ("cpu", "memory", "io")}
        self.group = Group()

    def counters(self) -> Counters:
        """Numbers that only grow; rates are their differences."""
        swap = re.findall(r"^pswp(?:in|out) (\d+)$", text_of("/proc/vmstat") or "", re.MULTILINE)
        return {
            **self._processor(),
            "swap_pages": float(sum(map(int, swap))),
            "pressure_cpu": self._waited("cpu", "some"),
            "pressure_memory": self._waited("memory", "some"),
            "pressure_io": self._waited("io", "full"),
            "quota_stopped": self.group.stopped_seconds(),
            "memory_limit_hits": self.group.limit_hits(),
            "thermal_events": _sum(self._throttle),
            "package_joules": _scaled(_sum(self._packages), 1e-6),
        }

    def levels(self) -> Counters:
        """Numbers that are what they are now."""
        memory = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text_of("/proc/meminfo") or "", re.MULTILINE))
        kilo = {name: int(value) * 1024.0 for name, value in memory.items()}
        runnable = re.match(r"\S+ \S+ \S+ (\d+)/", text_of("/proc/loadavg") or "")
        clocks = [float(text) for path in self._clocks if (text := text_of(path))]
        zones = [float(text) for path in self._zones if (text := text_of(path))]
        return {
            "runnable": float(runnable[1]) if runnable else None,
            "available_bytes": kilo.get("MemAvailable"),
            "cached_bytes": kilo.get("Cached"),
            "swap_used_bytes": kilo["SwapTotal"] - kilo["SwapFree"] if "SwapTotal" in kilo else None,
            "clock_mhz": sum(clocks) / len(clocks) / 1000.0 if clocks else None,
            "temperature_c": max(zones) / 1000.0 if zones else None,
        }

    def _processor(self) -> Counters:
        """Seconds of the cores this process may use; guest time is inside user time already."""
        busy = waited = stolen = 0
        for number, rest in _CPU.findall(text_of("/proc/stat") or ""):
            if int(number) in self.cores:
                user, nice, system, _idle, wait, irq, soft, steal = map(int, rest.split()[:8])
                busy += user + nice + system + irq + soft
                waited += wait
                stolen += steal
        return {name: ticks / _TICKS for name, ticks in (("busy", busy), ("waited", waited), ("stolen", stolen))}

    def _waited(self, name: str, who: str) -> float | None:
        found = re.search(rf"^{who} .*total=(\d+)", text_of(self._pressure[name]) or "", re.MULTILINE)
        return int(found[1]) / 1e6 if found else None


class Group:
    """This process's control group, of version 1 or 2."""

    def __init__(self, root: str = "") -> None:
        cpu, memory = _group(root, "cpu"), _group(root, "memory")
        self._cpu = _first([f"{path}/cpu.stat" for path in cpu])
        self._failures = _first([f"{path}/memory.failcnt" for path in memory])
        self._events = _first([f"{path}/memory.events" for path in memory])

    def stopped_seconds(self) -> float | None:
        """Time the group was stopped by its quota; None without a quota's counters."""
        stat = dict(re.findall(r"^(\w+) (\d+)$", text_of(self._cpu) or "", re.MULTILINE)) if self._cpu else {}
        if "throttled_usec" in stat:
            return int(stat["throttled_usec"]) / 1e6
        return int(stat["throttled_time"]) / 1e9 if "throttled_time" in stat else None

    def limit_hits(self) -> float | None:
        """How often an allocation met the memory limit."""
        if self._failures:
            text = (text_of(self._failures) or "").strip()
            return float(text) if text.isdigit() else None
        events = (
            re.findall(r"^(?:high|max|oom) (\d+)$", text_of(self._events) or "", re.MULTILINE) if self._events else []
        )
        return float(sum(map(int, events))) if events else None


def _group(root: str, controller: str) -> list[str]:
    """Directories that can hold the group's files, the most special first."""
    found = []
    for line in (text_of(f"{root}/proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controller in controllers.split(","):
            names = dict.fromkeys([controllers, controller])
            found += [f"{root}/sys/fs/cgroup/{name}{part}" for name in names for part in (group.rstrip("/"), "")]
        elif number == "0" and not controllers:
            bases = (f"{root}/sys/fs/cgroup", f"{root}/sys/fs/cgroup/unified")
            found += [f"{base}{part}" for base in bases for part in (group.rstrip("/"), "")]
    return found


def _paths(pattern: str) -> list[str]:
    return [str(path) for path in Path("/").glob(pattern.lstrip("/"))]


def _first(paths: list[str]) -> str | None:
    return next((path for path in paths if Path(path).is_file()), None)


def _sum(paths: list[str]) -> float | None:
    values = [int(text) for path in paths if (text := text_of(path)) and text.strip().isdigit()]
    return float(sum(values)) if values else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
