"""NVIDIA GPUs through NVML. No GPU, driver or permission is a fact to record, not a failure.

Serial numbers and UUIDs, which identify one card for good, are left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_THROTTLE = {
    "sw_power_cap": "nvmlClocksThrottleReasonSwPowerCap",
    "hw_slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "hw_thermal": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "sw_thermal": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "hw_power_brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
    "application_clocks": "nvmlClocksThrottleReasonApplicationsClocksSetting",
}


class GpuProbe:
    """GPUs with driver, memory, clocks, power limits, ECC, MIG, PCIe link and who else uses them."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``nvml_error`` says why none is listed; ``unreadable`` of a GPU says which readings it refused."""
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError as error:
            return {"count": 0, "nvml_error": f"pynvml cannot be imported: {error}", "gpus": []}
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            return {"count": 0, "nvml_error": str(error), "gpus": []}
        try:
            return _all(nvml)
        finally:
            nvml.nvmlShutdown()


def _all(nvml: Any) -> dict[str, Any]:
    count = nvml.nvmlDeviceGetCount()
    system = _Reader(nvml)
    return {
        "count": count,
        "nvml_error": None,
        "driver": system.text("driver", nvml.nvmlSystemGetDriverVersion),
        "nvml": system.text("nvml", nvml.nvmlSystemGetNVMLVersion),
        "cuda_driver": _cuda(system.get("cuda_driver", lambda: nvml.nvmlSystemGetCudaDriverVersion())),
        "gpus": [_one(nvml, index) for index in range(count)],
    }


def _one(nvml: Any, index: int) -> dict[str, Any]:
    reader = _Reader(nvml)
    gpu = reader.get("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if gpu is None:
        return {"index": index, "unreadable": reader.unreadable}
    memory = reader.get("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(gpu))
    found = {
        "index": index,
        "name": reader.text("name", lambda: nvml.nvmlDeviceGetName(gpu)),
        "vbios": reader.text("vbios", lambda: nvml.nvmlDeviceGetVbiosVersion(gpu)),
        "compute_capability": _dotted(
            reader.get("compute_capability", lambda: nvml.nvmlDeviceGetCudaComputeCapability(gpu))
        ),
        "memory_total_bytes": memory.total if memory else None,
        "memory_used_bytes": memory.used if memory else None,
        **_modes(nvml, gpu, reader),
        **_power_and_clocks(nvml, gpu, reader),
        **_link_and_load(nvml, gpu, reader),
    }
    return {**found, "unreadable": reader.unreadable}


def _modes(nvml: Any, gpu: Any, reader: _Reader) -> dict[str, Any]:
    ecc = reader.get("ecc", lambda: nvml.nvmlDeviceGetEccMode(gpu))
    mig = reader.get("mig", lambda: nvml.nvmlDeviceGetMigMode(gpu))
    return {
        "ecc": bool(ecc[0]) if ecc else None,
        "mig": bool(mig[0]) if mig else None,
        "persistence": reader.flag("persistence", lambda: nvml.nvmlDeviceGetPersistenceMode(gpu)),
        "compute_mode": reader.get("compute_mode", lambda: nvml.nvmlDeviceGetComputeMode(gpu)),
    }


def _power_and_clocks(nvml: Any, gpu: Any, reader: _Reader) -> dict[str, Any]:
    graphics, memory = nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_MEM
    reasons = reader.get("throttling", lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
    return {
        "power_limit_mw": reader.get("power_limit_mw", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)),
        "power_default_mw": reader.get(
            "power_default_mw", lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu)
        ),
        "power_now_mw": reader.get("power_now_mw", lambda: nvml.nvmlDeviceGetPowerUsage(gpu)),
        "sm_clock_mhz": reader.get("sm_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(gpu, graphics)),
        "sm_clock_max_mhz": reader.get(
            "sm_clock_max_mhz", lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, graphics)
        ),
        "memory_clock_mhz": reader.get("memory_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(gpu, memory)),
        "throttling": None
        if reasons is None
        else sorted(name for name, constant in _THROTTLE.items() if reasons & getattr(nvml, constant, 0)),
        "temperature_c": reader.get(
            "temperature_c", lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
        ),
    }


def _link_and_load(nvml: Any, gpu: Any, reader: _Reader) -> dict[str, Any]:
    load = reader.get("load", lambda: nvml.nvmlDeviceGetUtilizationRates(gpu))
    processes = reader.get("processes", lambda: nvml.nvmlDeviceGetComputeRunningProcesses(gpu))
    return {
        "pcie_generation": reader.get(
            "pcie_generation", lambda: nvml.nvmlDeviceGetCurrPcieLinkGeneration(gpu)
        ),
        "pcie_generation_max": reader.get(
            "pcie_generation_max", lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(gpu)
        ),
        "pcie_width": reader.get("pcie_width", lambda: nvml.nvmlDeviceGetCurrPcieLinkWidth(gpu)),
        "load_percent": load.gpu if load else None,
        "compute_processes": None if processes is None else len(processes),
    }


class _Reader:
    """Calls NVML and remembers what it refused."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml
        self.unreadable: dict[str, str] = {}

    def get(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (self.nvml.NVMLError, AttributeError) as error:  # an older driver or binding lacks the call
            self.unreadable[name] = str(error)
            return None

    def text(self, name: str, call: Callable[[], Any]) -> str | None:
        value = self.get(name, call)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def flag(self, name: str, call: Callable[[], Any]) -> bool | None:
        value = self.get(name, call)
        return None if value is None else bool(value)


def _dotted(pair: tuple[int, int] | None) -> str | None:
    return f"{pair[0]}.{pair[1]}" if pair else None


def _cuda(number: int | None) -> str | None:
    return f"{number // 1000}.{number % 1000 // 10}" if number else None
