"""GPU samples from a played-back NVML, from one that fails, and from none.

The tape is the one of ``tests/plugins/tapes``, written from NVIDIA's documentation of an H200.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryorepro_probes.nvml import Replay

from cryorepro.workflow.timeline.columns import GPU_COLUMNS
from cryorepro.workflow.timeline.gpus import PCIE_EVERY, Gpus

TAPE = Path(__file__).parents[2] / "plugins" / "tapes" / "h200.json"


def played(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Gpus:
    tape = json.loads(TAPE.read_text()) | {"nvmlDeviceGetCount()": 1} | changes
    monkeypatch.setitem(sys.modules, "pynvml", Replay(tape))
    return Gpus()


def test_a_sample_of_a_played_back_card(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [{"pid": 10, "usedGpuMemory": 1}, {"pid": 11, "usedGpuMemory": 1}]
    gpus = played(monkeypatch, **{"nvmlDeviceGetComputeRunningProcesses(0)": others})
    assert gpus.names == ["NVIDIA H200"]
    (row,) = gpus.look(own={10})
    sample = dict(zip(GPU_COLUMNS, row, strict=True))
    assert sample == {
        "index": 0, "load": 0.0, "memory_bytes": 754820096, "sm_clock_mhz": 345, "memory_clock_mhz": 3201,
        "watts": 76.0, "temperature_c": 29, "throttle_mask": 1, "pcie_sent_bytes": 120e3,
        "pcie_received_bytes": 340e3, "energy_joules": pytest.approx(123456.789), "other_processes": 1,
    }  # fmt: skip


def test_traffic_which_takes_nvml_20_ms_is_asked_for_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = played(monkeypatch)
    place = list(GPU_COLUMNS).index("pcie_sent_bytes")
    asked = [gpus.look(set())[0][place] is not None for _ in range(2 * PCIE_EVERY)]
    assert [number for number, there in enumerate(asked) if there] == [0, PCIE_EVERY]


def test_a_card_that_refuses_leaves_gaps_and_a_broken_driver_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"NVMLError": "GPU is lost"}
    gpus = played(monkeypatch, **{"nvmlDeviceGetUtilizationRates(0)": refused, "nvmlDeviceGetPowerUsage(0)": refused})
    sample = dict(zip(GPU_COLUMNS, gpus.look(set())[0], strict=True))
    assert (sample["load"], sample["watts"], sample["temperature_c"]) == (None, None, 29)

    def broken() -> None:
        raise RuntimeError("driver/library mismatch")

    for module in (SimpleNamespace(nvmlInit=broken), None):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        assert Gpus().look(set()) == []
