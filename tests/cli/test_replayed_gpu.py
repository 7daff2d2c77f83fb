"""Commands on a machine whose NVML answers as an H200 does, through NVIDIA's own binding; and on one without NVML.

The tape, ``tests/plugins/tapes/h200.json``, was written from NVIDIA's documentation; it was not recorded from a card.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cryorepro.workflow.timeline.perturbed import perturbations
from cryorepro.workflow.timeline.sampler import FILE
from cryorepro.workflow.timeline.series import read_samples
from cryorepro.workflow.timeline.summary import summarise
from tests.plugins.nvml_library import site

TAPE = Path(__file__).parents[1] / "plugins" / "tapes" / "h200.json"


def tape(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(TAPE.read_text())
    return content | {"nvmlDeviceGetCount()": 1} | changes


def environment(tmp_path: Path, **changes: Any) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site(tmp_path / "site", tape(**changes)))}


def fingerprint(settings: dict[str, str], *arguments: str) -> Any:
    command = [sys.executable, "-m", "cryorepro", "fingerprint", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=settings, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def gpu_probe(probes: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [probe for probe in probes if probe["name"] == "gpu"]
    assert found["status"] == "ok", found
    return dict(found["data"])


def test_a_fingerprint_through_nvidias_binding(tmp_path: Path) -> None:
    content = fingerprint(environment(tmp_path), "--show-private")
    data = gpu_probe(content["fingerprint"])
    (card,) = data["gpus"]
    assert (data["driver"], data["cuda_driver"], data["nvml_error"]) == ("580.95.05", "13.0", None)
    assert (card["name"], card["compute_capability"], card["memory_total_bytes"]) == (
        "NVIDIA H200",
        "9.0",
        150754820096,
    )
    assert (card["ecc"], card["ecc_errors"]) == (True, {"corrected": 2, "uncorrected": 0})
    assert (card["mig"], card["persistence"], card["throttling"]) == (False, True, [])
    assert (card["power_limit_mw"], card["power_range_mw"]) == (700_000, [200_000, 700_000])
    assert [card[f"pcie_{name}"] for name in ("generation", "generation_max", "width", "width_max")] == [5, 5, 16, 16]
    assert card["unreadable"] == {"sm_clock_application_mhz": "Not Supported"}
    assert "GPU-11111111" not in json.dumps(content["fingerprint"])
    assert "GPU-11111111" in content["private"]["gpu"]["raw"]["NVML"], "the owner may look"


def test_every_throttle_reason_mig_and_no_ecc_are_told(tmp_path: Path) -> None:
    changes = {
        "nvmlDeviceGetCurrentClocksThrottleReasons(0)": 0x4 | 0x8 | 0x20 | 0x40 | 0x80,
        "nvmlDeviceGetMigMode(0)": [1, 1],
        "nvmlDeviceGetEccMode(0)": {"NVMLError": "Not Supported"},
        "nvmlDeviceGetCurrPcieLinkGeneration(0)": 1,
    }
    (card,) = gpu_probe(fingerprint(environment(tmp_path, **changes)))["gpus"]
    assert card["throttling"] == ["hw_power_brake", "hw_slowdown", "hw_thermal", "sw_power_cap", "sw_thermal"]
    assert (card["mig"], card["ecc"], card["unreadable"]["ecc"]) == (True, None, "Not Supported")
    assert (card["pcie_generation"], card["pcie_generation_max"]) == (1, 5)


def test_without_nvml_the_reason_is_the_reading(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pynvml\ndef gone(*_, **__): raise OSError('libnvidia-ml.so.1: no such file')\npynvml.CDLL = gone\n"
    )
    data = gpu_probe(fingerprint({**os.environ, "PYTHONPATH": str(tmp_path)}))
    assert (data["count"], data["gpus"], data["nvml_error"]) == (0, [], "NVML Shared Library Not Found")


def sampled(tmp_path: Path, **changes: Any) -> tuple[list[str], dict[str, Any]]:
    """Words of the flags, and the summary, of a stage of 3 s sampled ten times a second."""
    busy = {
        "nvmlDeviceGetUtilizationRates(0)": {"gpu": 95, "memory": 40},
        "nvmlDeviceGetClockInfo(0, 1)": 1900,
        "nvmlDeviceGetPowerUsage(0)": 650_000,
        "nvmlDeviceGetCurrentClocksThrottleReasons(0)": 4,
    }
    settings = environment(tmp_path, **(busy | changes))
    attempt = {
        "argv": [sys.executable, "-c", "import time; time.sleep(3)"], "cwd": str(tmp_path), "environment": settings,
        "lock_file": str(tmp_path / "lock"), "deny": [], "die_with_parent": False, "inputs": [], "sample_seconds": 0.1,
    }  # fmt: skip
    (tmp_path / "attempt.json").write_text(json.dumps(attempt))
    command = [sys.executable, "-m", "cryorepro.workflow.supervisor", str(tmp_path / "attempt.json")]
    assert subprocess.run(command, env=settings, timeout=60).returncode == 0
    wall = json.loads((tmp_path / "exit.json").read_text())["wall_seconds"]
    timeline = read_samples(tmp_path / FILE, "s", 1)
    assert timeline is not None
    assert timeline.gpu_names == ["NVIDIA H200"]
    flags = [flag for flag in perturbations(timeline, wall) if "GPU" in flag.detail]
    return [flag.reason for flag in flags], summarise(timeline, wall)


def test_a_card_at_its_power_limit_is_not_accused_and_its_energy_is_told(tmp_path: Path) -> None:
    words, summary = sampled(tmp_path, **{"nvmlDeviceGetTotalEnergyConsumption(0)": {"NVMLError": "Not Supported"}})
    assert words == []
    (card,) = summary["gpus"]
    assert (card["mean"]["load"], card["mean"]["watts"], card["throttle_masks"]) == (0.95, 650.0, [4])
    assert card["mean"]["pcie_received_bytes"] == 340e3
    assert summary["energy_joules"]["gpus"] == pytest.approx(650.0 * summary["covered_seconds"], rel=1e-3)


def test_the_cards_own_counter_is_believed_before_its_power(tmp_path: Path) -> None:
    counter = {"series": [1_000_000 + 50_000 * step for step in range(500)]}
    _, summary = sampled(tmp_path, **{"nvmlDeviceGetTotalEnergyConsumption(0)": counter})
    assert summary["energy_joules"]["gpus"] == pytest.approx(50.0 * (summary["samples"] - 1))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"nvmlDeviceGetCurrentClocksThrottleReasons(0)": {"series": [4] * 10 + [0x40] * 3 + [4]}}, "throttling"),
        ({"nvmlDeviceGetCurrentClocksThrottleReasons(0)": 0x80}, "throttling"),
        ({"nvmlDeviceGetClockInfo(0, 1)": {"series": [1900] * 10 + [1200]}}, "clock-change"),
        ({"nvmlDeviceGetComputeRunningProcesses(0)": [{"pid": 1, "usedGpuMemory": 10**9}]}, "co-tenants"),
    ],
)
def test_trouble_of_a_card_bears_its_word(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    assert sampled(tmp_path, **changes)[0] == [word]
