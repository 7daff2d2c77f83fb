"""The GPU probe against a tape of NVML's answers, played back at the library's boundary.

The tape ``tapes/h200.json`` was written from NVIDIA's published figures of the H200 SXM (141 GB of HBM3e that NVML
counts as 143,771 MiB, 16,896 cores, 6,144 bit bus, 700 W, compute capability 9.0, PCIe 5.0 x16, SM clock up to
1,980 MHz) and from NVML's documentation of each call. It is not a recording of one card.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryorepro_probes.gpu import GpuProbe
from cryorepro_probes.nvml import Replay, ReplayError, Tape

TAPE = Path(__file__).parent / "tapes" / "h200.json"
CONSTANTS = {
    "NVML_CLOCK_SM": 1,
    "NVML_CLOCK_MEM": 2,
    "NVML_TEMPERATURE_GPU": 0,
    "NVML_MEMORY_ERROR_TYPE_CORRECTED": 0,
    "NVML_MEMORY_ERROR_TYPE_UNCORRECTED": 1,
    "NVML_VOLATILE_ECC": 0,
}


@pytest.fixture
def h200(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    tape: dict[str, Any] = json.loads(TAPE.read_text())
    monkeypatch.setitem(sys.modules, "pynvml", Replay(tape, CONSTANTS))
    return tape


@pytest.mark.usefixtures("h200")
def test_a_played_back_h200_is_read_as_one(tmp_path: Path) -> None:
    probe = GpuProbe(tmp_path)
    measured = probe.measure({})
    first, lost = measured["gpus"]
    assert (measured["count"], measured["driver"], measured["cuda_driver"]) == (2, "580.95.05", "13.0")
    assert (first["name"], first["compute_capability"], first["cores"]) == ("NVIDIA H200", "9.0", 16896)
    assert first["memory_total_bytes"] == 143_771 * 2**20
    assert (first["power_limit_mw"], first["power_range_mw"]) == (700_000, [200_000, 700_000])
    assert (first["pcie_generation_max"], first["pcie_width"], first["pcie_width_max"]) == (5, 16, 16)
    assert (first["ecc"], first["mig"], first["ecc_errors"]) == (True, False, {"corrected": 2, "uncorrected": 0})
    assert first["throttling"] == []
    assert first["unreadable"] == {"sm_clock_application_mhz": "Not Supported"}
    assert lost == {"index": 1, "unreadable": {"handle": "GPU is lost"}}, "one lost card hides no other"


def test_uuids_leave_only_as_digests_and_the_raw_tape_holds_them(h200: dict[str, Any], tmp_path: Path) -> None:
    probe = GpuProbe(tmp_path)
    measured = probe.measure({})
    assert "11111111-2222" not in json.dumps(measured)
    assert len(measured["gpus"][0]["uuid_sha256"]) == 16
    played = json.loads(probe.raw()["NVML"])
    assert played["nvmlDeviceGetUUID(0)"] == h200["nvmlDeviceGetUUID(0)"]
    assert {shown: h200.get(shown) for shown in played} == played, "what was read is what the library answered"


def test_a_tape_made_of_a_tape_is_the_same_tape(h200: dict[str, Any], tmp_path: Path) -> None:
    probe = GpuProbe(tmp_path)
    first = probe.measure({})
    tape = json.loads(probe.raw()["NVML"])
    sys.modules["pynvml"] = Replay(tape, CONSTANTS)  # type: ignore[assignment]
    assert GpuProbe(tmp_path).measure({}) == first
    assert set(tape) <= set(h200)


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def test_a_tape_takes_what_the_binding_gives_structures_bytes_and_refusals() -> None:
    def refuse() -> None:
        raise ReplayError("Not Supported")

    nvml = SimpleNamespace(
        NVMLError=ReplayError,
        nvmlDeviceGetHandleByIndex=lambda index: SimpleNamespace(),
        nvmlDeviceGetMemoryInfo=lambda handle: _Memory(5, 3),
        nvmlDeviceGetName=lambda handle: b"GPU",
        nvmlRefused=refuse,
    )
    tape = Tape(nvml)
    handle = tape.call("nvmlDeviceGetHandleByIndex", 0)
    tape.call("nvmlDeviceGetMemoryInfo", handle)
    tape.call("nvmlDeviceGetName", handle)
    with pytest.raises(ReplayError):
        tape.call("nvmlRefused")
    with pytest.raises(AttributeError):
        tape.call("nvmlAbsent")
    assert json.loads(tape.raw()) == {
        "nvmlDeviceGetHandleByIndex(0)": 0,
        "nvmlDeviceGetMemoryInfo(0)": {"total": 5, "used": 3},
        "nvmlDeviceGetName(0)": "GPU",
        "nvmlRefused()": {"NVMLError": "Not Supported"},
    }
    replay = Replay(json.loads(tape.raw()))
    assert replay.nvmlDeviceGetMemoryInfo(0).used == 3
    with pytest.raises(ReplayError, match="not on the tape"):
        replay.nvmlDeviceGetName(7)
