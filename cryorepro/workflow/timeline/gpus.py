"""GPU readings through NVML, one row for each card; nothing at all where there is no driver."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from cryorepro.workflow.timeline.columns import GPU_COLUMNS

PCIE_EVERY = 5
"""NVML measures PCIe traffic over 20 ms in each call: asked for at every fifth sample only."""

Row = list[float | None]


class Gpus:
    """The cards of this machine. A card or call that fails gives None, never an exception."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        self.names: list[str] = []
        self._count = 0
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
        except Exception:  # noqa: BLE001 - whatever is wrong with a driver, the stage's other readings go on
            return
        self._nvml = nvml
        for index in range(self._ask(nvml.nvmlDeviceGetCount) or 0):
            handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, index)
            name = self._ask(nvml.nvmlDeviceGetName, handle)
            self._handles.append(handle)
            self.names.append(name.decode() if isinstance(name, bytes) else str(name))

    def look(self, own: set[int]) -> list[Row]:
        """One row (as GPU_COLUMNS) for each card; ``own`` are the stage's processes."""
        self._count += 1
        return [self._row(index, handle, own) for index, handle in enumerate(self._handles)]

    def _row(self, index: int, gpu: Any, own: set[int]) -> Row:
        nvml = self._nvml
        load = self._ask(nvml.nvmlDeviceGetUtilizationRates, gpu)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, gpu)
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, gpu)
        found = {
            "index": float(index),
            "load": load.gpu / 100.0 if load else None,
            "memory_bytes": float(memory.used) if memory else None,
            "sm_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, gpu, 1),
            "memory_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, gpu, 2),
            "watts": _scaled(self._ask(nvml.nvmlDeviceGetPowerUsage, gpu), 1e-3),
            "temperature_c": self._ask(nvml.nvmlDeviceGetTemperature, gpu, 0),
            "throttle_mask": self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, gpu),
            **self._pcie(gpu),
            "energy_joules": _scaled(self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu), 1e-3),
            "other_processes": None if processes is None else float(sum(p.pid not in own for p in processes)),
        }
        return [found[name] for name in GPU_COLUMNS]

    def _pcie(self, gpu: Any) -> dict[str, float | None]:
        names = ("pcie_sent_bytes", "pcie_received_bytes")
        if self._count % PCIE_EVERY != 1:
            return dict.fromkeys(names)
        counters = enumerate(names)
        return {
            name: _scaled(self._ask(self._nvml.nvmlDeviceGetPcieThroughput, gpu, code), 1e3) for code, name in counters
        }

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception:  # noqa: BLE001 - NVML raises its own classes, an old binding AttributeError or TypeError
            return None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
