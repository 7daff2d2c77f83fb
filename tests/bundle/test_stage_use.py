"""What a stage used, from timelines of machines that this one is not."""

from __future__ import annotations

from typing import Any

import pytest

from cryorepro.bundle.stage_use import stage_use
from cryorepro.workflow.timeline.columns import GPU_COLUMNS


def attempt(joules: float | None, memory: float, busy: float) -> dict[str, Any]:
    assert {"memory_bytes", "load"} <= set(GPU_COLUMNS)
    card = {"peak": {"memory_bytes": memory}, "mean": {"load": busy}}
    return {
        "timeline": {
            "covered_seconds": 100.0,
            "energy_joules": {"packages": joules, "gpus": 3000.0},
            "gpus": [card, card],
        }
    }


def test_energy_and_time_add_up_over_attempts_and_memory_is_the_largest() -> None:
    found = stage_use({"attempts": [attempt(50.0, 2e9, 0.4), attempt(70.0, 3e9, 0.6)], "usage": {"wall_seconds": 9}})
    assert found["energy_joules"] == 120.0 and found["gpu_energy_joules"] == 6000.0
    assert found["peak_gpu_memory_bytes"] == 6e9
    assert found["gpu_seconds"] == pytest.approx(2 * 100.0 * 0.4 + 2 * 100.0 * 0.6)
    assert found["wall_seconds"] == 9


def test_what_one_attempt_could_not_measure_is_not_summed() -> None:
    found = stage_use({"attempts": [attempt(50.0, 2e9, 0.4), attempt(None, 3e9, 0.6)]})
    assert found.get("energy_joules") is None and found["gpu_energy_joules"] == 6000.0


def test_a_machine_without_gpus_has_no_figures_of_them() -> None:
    found = stage_use({"attempts": [{"timeline": {"gpus": [], "energy_joules": {"packages": None, "gpus": None}}}]})
    assert all(found.get(name) is None for name in ("gpu_seconds", "peak_gpu_memory_bytes", "gpu_energy_joules"))
    assert stage_use({"attempts": []}).get("energy_joules") is None
