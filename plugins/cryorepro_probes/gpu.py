"""NVIDIA GPUs through NVML. No GPU, driver or permission is a fact to record, not a failure.

Serial numbers are not asked for; UUIDs, which identify one card for good, are told as a digest only.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, keep, read
from cryorepro_probes.nvml import Tape

_THROTTLE = {
    "sw_power_cap": "nvmlClocksThrottleReasonSwPowerCap",
    "hw_slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "hw_thermal": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "sw_thermal": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "hw_power_brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
    "application_clocks": "nvmlClocksThrottleReasonApplicationsClocksSetting",
}
_TOPOLOGY = {
    0: "same board",
    10: "one switch",
    20: "several switches",
    30: "host bridge",
    40: "same node",
    50: "system",
}
"""NVML's nvmlGpuTopologyLevel_t: the closest thing two cards have in common."""


class GpuProbe(Recorded):
    """GPUs with driver, memory, clocks, power limits, ECC, MIG, MPS, PCIe link, topology and who else uses them."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

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
        tape = Tape(nvml)
        try:
            return {**_all(tape), "mps": self._mps()}
        finally:
            keep("NVML", tape.raw())
            nvml.nvmlShutdown()

    def _mps(self) -> bool:
        """Whether a multi-process server runs here, or this process was pointed at one."""
        names = (read(path / "comm") for path in (self.root / "proc").glob("[0-9]*"))
        return "CUDA_MPS_PIPE_DIRECTORY" in os.environ or any(name == "nvidia-cuda-mps" for name in names)


def _all(nvml: Tape) -> dict[str, Any]:
    count = nvml.call("nvmlDeviceGetCount")
    system = _Reader(nvml)
    gpus = [_one(nvml, index) for index in range(count)]
    return {
        "count": count,
        "nvml_error": None,
        "driver": system.get("driver", "nvmlSystemGetDriverVersion", text=True),
        "nvml": system.get("nvml", "nvmlSystemGetNVMLVersion", text=True),
        "cuda_driver": _cuda(system.get("cuda_driver", "nvmlSystemGetCudaDriverVersion")),
        "gpus": gpus,
        "topology": _topology(nvml, count),
    }


def _one(nvml: Tape, index: int) -> dict[str, Any]:
    reader = _Reader(nvml)
    reader.gpu = reader.get("handle", "nvmlDeviceGetHandleByIndex", index)
    if reader.gpu is None:
        return {"index": index, "unreadable": reader.unreadable}
    memory = reader.of("memory", "MemoryInfo")
    uuid = reader.of("uuid_sha256", "UUID", text=True)
    capability = reader.of("compute_capability", "CudaComputeCapability")
    found = {
        "index": index,
        "name": reader.of("name", "Name", text=True),
        "uuid_sha256": None if uuid is None else hashlib.sha256(f"cryorepro/{uuid}".encode()).hexdigest()[:16],
        "vbios": reader.of("vbios", "VbiosVersion", text=True),
        "compute_capability": f"{capability[0]}.{capability[1]}" if capability else None,
        "cores": reader.of("cores", "NumGpuCores"),
        "memory_total_bytes": memory.total if memory else None,
        "memory_used_bytes": memory.used if memory else None,
        "memory_bus_bits": reader.of("memory_bus_bits", "MemoryBusWidth"),
        **_modes(reader),
        **_power(reader),
        **_clocks(reader),
        **_link_and_load(reader),
    }
    return {**found, "unreadable": reader.unreadable}


def _modes(reader: _Reader) -> dict[str, Any]:
    ecc, mig = reader.of("ecc", "EccMode"), reader.of("mig", "MigMode")
    persistence = reader.of("persistence", "PersistenceMode")
    constant = reader.nvml.constant
    kinds = {name: constant(f"NVML_MEMORY_ERROR_TYPE_{name.upper()}", code) for code, name in enumerate(_ERRORS)}
    counter = constant("NVML_VOLATILE_ECC", 0)
    return {
        "ecc": bool(ecc[0]) if ecc else None,
        "ecc_errors": {name: reader.of(f"ecc_{name}", "TotalEccErrors", code, counter) for name, code in kinds.items()},
        "mig": bool(mig[0]) if mig else None,
        "persistence": None if persistence is None else bool(persistence),
        "compute_mode": reader.of("compute_mode", "ComputeMode"),
    }


_ERRORS = ("corrected", "uncorrected")


def _power(reader: _Reader) -> dict[str, Any]:
    range_mw = reader.of("power_range_mw", "PowerManagementLimitConstraints")
    celsius = reader.nvml.constant("NVML_TEMPERATURE_GPU", 0)
    return {
        "power_limit_mw": reader.of("power_limit_mw", "EnforcedPowerLimit"),
        "power_default_mw": reader.of("power_default_mw", "PowerManagementDefaultLimit"),
        "power_range_mw": None if range_mw is None else list(range_mw),
        "power_now_mw": reader.of("power_now_mw", "PowerUsage"),
        "temperature_c": reader.of("temperature_c", "Temperature", celsius),
    }


def _clocks(reader: _Reader) -> dict[str, Any]:
    constant = reader.nvml.constant
    graphics, memory = constant("NVML_CLOCK_SM", 1), constant("NVML_CLOCK_MEM", 2)
    reasons = reader.of("throttling", "CurrentClocksThrottleReasons")
    return {
        "sm_clock_mhz": reader.of("sm_clock_mhz", "ClockInfo", graphics),
        "sm_clock_max_mhz": reader.of("sm_clock_max_mhz", "MaxClockInfo", graphics),
        "sm_clock_application_mhz": reader.of("sm_clock_application_mhz", "ApplicationsClock", graphics),
        "memory_clock_mhz": reader.of("memory_clock_mhz", "ClockInfo", memory),
        "memory_clock_max_mhz": reader.of("memory_clock_max_mhz", "MaxClockInfo", memory),
        "throttling": None
        if reasons is None
        else sorted(name for name, mask in _THROTTLE.items() if reasons & constant(mask, 0)),
    }


def _link_and_load(reader: _Reader) -> dict[str, Any]:
    load = reader.of("load", "UtilizationRates")
    processes = reader.of("processes", "ComputeRunningProcesses")
    return {
        "pcie_generation": reader.of("pcie_generation", "CurrPcieLinkGeneration"),
        "pcie_generation_max": reader.of("pcie_generation_max", "MaxPcieLinkGeneration"),
        "pcie_width": reader.of("pcie_width", "CurrPcieLinkWidth"),
        "pcie_width_max": reader.of("pcie_width_max", "MaxPcieLinkWidth"),
        "load_percent": load.gpu if load else None,
        "compute_processes": None if processes is None else len(processes),
    }


def _topology(nvml: Tape, count: int) -> dict[str, str]:
    """What each pair of cards shares, as ``{"0-1": "one switch"}``; empty for one card."""
    reader = _Reader(nvml)
    handles = [reader.get("handle", "nvmlDeviceGetHandleByIndex", index) for index in range(count)] if count > 1 else []
    pairs = {}
    for one, first in enumerate(handles):
        for other in range(one + 1, count):
            if first is None or handles[other] is None:
                continue
            level = reader.get("level", "nvmlDeviceGetTopologyCommonAncestor", first, handles[other])
            pairs[f"{one}-{other}"] = "unknown" if level is None else _TOPOLOGY.get(level, str(level))
    return pairs


class _Reader:
    """Calls NVML and remembers what it refused."""

    def __init__(self, nvml: Tape) -> None:
        self.nvml = nvml
        self.gpu: Any = None
        self.unreadable: dict[str, str] = {}

    def of(self, name: str, what: str, *arguments: Any, text: bool = False) -> Any:
        """``nvmlDeviceGet<what>`` of the reader's GPU."""
        return self.get(name, f"nvmlDeviceGet{what}", self.gpu, *arguments, text=text)

    def get(self, name: str, call: str, *arguments: Any, text: bool = False) -> Any:
        """The answer; None, with the reason kept under ``name``, when NVML refuses or lacks the call."""
        try:
            value = self.nvml.call(call, *arguments)
        except (self.nvml.error, AttributeError) as error:  # an older driver or binding lacks the call
            self.unreadable[name] = str(error)
            return None
        return value.decode(errors="replace") if text and isinstance(value, bytes) else value


def _cuda(number: int | None) -> str | None:
    return f"{number // 1000}.{number % 1000 // 10}" if number else None
