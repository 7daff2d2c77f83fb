"""The GPU probe with a driver, with half a driver, and without one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryorepro_probes.gpu import GpuProbe


class FakeNvml(SimpleNamespace):
    """A driver with one GPU that refuses its ECC mode and is too old for MIG."""

    class NVMLError(Exception):
        pass

    def __init__(self, missing_driver: bool = False) -> None:
        super().__init__(NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, NVML_TEMPERATURE_GPU=0, shut=0)
        self.missing_driver = missing_driver
        self.nvmlClocksThrottleReasonSwPowerCap = 4
        self.nvmlClocksThrottleReasonHwSlowdown = 8
        fixed = {
            "DeviceGetCount": 1, "SystemGetDriverVersion": b"580.95.05", "SystemGetNVMLVersion": "13.580.95",
            "SystemGetCudaDriverVersion": 13000, "DeviceGetHandleByIndex": "gpu", "DeviceGetName": b"NVIDIA H200",
            "DeviceGetVbiosVersion": "96.00", "DeviceGetCudaComputeCapability": (9, 0),
            "DeviceGetMemoryInfo": SimpleNamespace(total=150_754_820_096, used=1_000), "DeviceGetPersistenceMode": 1,
            "DeviceGetComputeMode": 0, "DeviceGetEnforcedPowerLimit": 700_000, "DeviceGetPowerUsage": 75_000,
            "DeviceGetPowerManagementDefaultLimit": 700_000, "DeviceGetCurrentClocksThrottleReasons": 4,
            "DeviceGetTemperature": 31, "DeviceGetUtilizationRates": SimpleNamespace(gpu=12, memory=0),
            "DeviceGetComputeRunningProcesses": [object(), object()], "DeviceGetCurrPcieLinkGeneration": 5,
            "DeviceGetMaxPcieLinkGeneration": 5, "DeviceGetCurrPcieLinkWidth": 16, "DeviceGetClockInfo": 345,
            "DeviceGetMaxClockInfo": 1980,
        }  # fmt: skip
        for name, value in fixed.items():
            setattr(self, f"nvml{name}", lambda *_, value=value: value)

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if self.missing_driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shut += 1

    def nvmlDeviceGetEccMode(self, _gpu: object) -> None:  # noqa: N802
        raise self.NVMLError("Not Supported")


def test_gpu_readings_with_what_the_driver_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    measured = GpuProbe().measure({})
    assert (measured["count"], measured["driver"], measured["cuda_driver"]) == (1, "580.95.05", "13.0")
    (gpu,) = measured["gpus"]
    assert (gpu["name"], gpu["compute_capability"], gpu["memory_total_bytes"]) == (
        "NVIDIA H200",
        "9.0",
        150_754_820_096,
    )
    assert gpu["throttling"] == ["sw_power_cap"]
    assert gpu["persistence"] is True
    assert gpu["compute_processes"] == 2
    assert gpu["ecc"] is None
    assert gpu["unreadable"]["ecc"] == "Not Supported"
    assert "nvmlDeviceGetMigMode" in gpu["unreadable"]["mig"], "a call this binding lacks"
    assert nvml.shut == 1
    json.dumps(measured, allow_nan=False)


def test_no_driver_and_no_binding_are_readings_not_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(missing_driver=True))
    assert GpuProbe().measure({}) == {"count": 0, "nvml_error": "Driver Not Loaded", "gpus": []}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    measured = GpuProbe().measure({})
    assert measured["count"] == 0
    assert "pynvml" in measured["nvml_error"]


def test_gpu_count_agrees_with_the_devices_of_this_machine() -> None:
    devices = [path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    measured = GpuProbe().measure({})
    assert measured["count"] == len(devices) == len(measured["gpus"])
    assert (measured["nvml_error"] is None) == bool(devices)
