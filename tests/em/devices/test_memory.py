"""Free memory, plans that fit it, and what happens when a plan did not."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cryorepro.em import expectation_plan
from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.footprint import StepShape, peak_bytes
from cryorepro.em.devices.memory import free_bytes
from cryorepro.em.devices.plan import Plan
from cryorepro.em.devices.planning import plan_step
from cryorepro.em.expectation import expectation
from cryorepro.em.fourier import grid_radius, half_plane
from cryorepro.em.imageset import Poses
from cryorepro.em.preparation import prepare
from cryorepro.em.sampling import psi_count, translation_grid
from tests.em.devices.peak import case

GIB = 1 << 30
GPU = torch.device("cuda", 0)


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def test_free_memory_is_what_machine_and_control_group_leave(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    _file(meminfo, "MemTotal:       32000000 kB\nMemFree: 1000 kB\nMemAvailable:   8000000 kB\n")
    assert free_bytes(CPU, tmp_path / "none", meminfo) == 8_000_000 * 1024
    second = tmp_path / "v2"
    _file(second / "memory.max", f"{6 * GIB}\n")
    _file(second / "memory.current", f"{5 * GIB}\n")
    _file(second / "memory.stat", f"anon {3 * GIB}\ninactive_file {GIB}\nactive_file {GIB // 2}\n")
    assert free_bytes(CPU, second, meminfo) == 2 * GIB + GIB // 2
    _file(second / "memory.max", "max\n")
    assert free_bytes(CPU, second, meminfo) == 8_000_000 * 1024
    first = tmp_path / "v1"
    _file(first / "memory" / "memory.limit_in_bytes", f"{2 * GIB}\n")
    _file(first / "memory" / "memory.usage_in_bytes", f"{GIB}\n")
    assert free_bytes(CPU, first, meminfo) == GIB
    _file(first / "memory" / "memory.limit_in_bytes", "9223372036854771712\n")
    assert free_bytes(CPU, first, meminfo) == 8_000_000 * 1024


def test_free_memory_here_is_no_more_than_the_machine_has() -> None:
    assert 0 < free_bytes(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _shape(box_px: int, radius: int, classes: int, coarse_radius: int = 13, particles: int = 105_247) -> StepShape:
    side = grid_radius(radius)
    return StepShape(
        box_px=box_px, pixels=len(half_plane(box_px, radius)), coarse_pixels=len(half_plane(box_px, coarse_radius)),
        cells=(2 * side + 1) ** 2 * (side + 1), classes=classes, coarse_rows=192 * psi_count(2) // 2,
        coarse_shifts=len(translation_grid(5.0, 2.0)), oversampling=1, groups=2000, particles=particles,
    )  # fmt: skip


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("box_px", "radius", "classes", "card_gib"),
    [(360, 60, 6, 16), (360, 90, 6, 16), (360, 180, 6, 16), (512, 128, 1, 24), (512, 200, 1, 24)],
)
def test_jobs_are_planned_to_fit_their_cards(
    box_px: int, radius: int, classes: int, card_gib: int, exact: bool
) -> None:
    # a driver and a context take half a gigabyte of a card
    free, shape = card_gib * GIB - GIB // 2, _shape(box_px, radius, classes)
    plan = plan_step(shape, GPU, free, exact=exact)
    assert peak_bytes(shape, plan) < 0.8 * free
    assert plan.exact is exact


def test_less_memory_gives_smaller_plans_and_exact_ones_keep_what_decides_bits() -> None:
    shape = _shape(360, 60, 6)
    plans = [plan_step(shape, GPU, gib * GIB) for gib in (128, 24, 12)]
    held = [plan.block_particles * plan.table_bytes for plan in plans]
    assert held[0] > held[1] > held[2]
    exact = [plan_step(shape, GPU, gib * GIB, exact=True) for gib in (128, 24, 12)]
    assert len({replace(plan, table_bytes=0) for plan in exact}) == 1 and len(set(exact)) == 3
    assert len({replace(plan_step(shape, CPU, g * GIB, 2, True), table_bytes=0) for g in (4, 64)}) == 1
    assert plan_step(shape, CPU, 64 * GIB, 2) == Plan()


def test_a_step_that_cannot_fit_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        plan_step(_shape(360, 180, 6), GPU, 4 * GIB)
    (told,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"this step may need \d+\.\d GiB, and 4\.0 GiB are free", told)


def test_a_local_search_needs_no_memory_for_the_grid_it_does_not_visit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order 5 has 2.4 million orientations; around a particle there are some hundred of them."""
    images, model = case(count=8, box=64, radius=28, classes=1, order=5, plan=Plan())
    model = replace(model, coarse_shell=28)
    monkeypatch.setattr(expectation_plan, "free_bytes", lambda device: 4 * GIB)
    with caplog.at_level(logging.WARNING):
        assert expectation_plan.planned(model, images, 2, local=True) == Plan()
        assert caplog.records == []
        expectation_plan.planned(model, images, 2)
    assert "this step may need" in caplog.text


def test_halving_ends() -> None:
    for plan in (Plan(), Plan(exact=True)):
        steps = 0
        smaller = plan.smaller()
        while smaller is not None:
            assert smaller.table_bytes <= plan.table_bytes and smaller.block_particles <= plan.block_particles
            plan, smaller, steps = smaller, smaller.smaller(), steps + 1
        assert 3 <= steps <= 40


def _printed(module: str, argument: str) -> str:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", f"tests.em.devices.{module}", argument]
    # what is freed goes back at once: only what is in use together counts
    strict = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    environment = os.environ | strict
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True, timeout=300, env=environment)
    return done.stdout


def _peak(**asked: Any) -> dict[str, int]:
    found: dict[str, int] = json.loads(_printed("peak", json.dumps(asked)))
    return found


@pytest.mark.parametrize(
    "asked",
    [
        {"count": 40, "box": 128, "radius": 60, "classes": 2, "order": 0},
        {"count": 30, "box": 96, "radius": 47, "classes": 1, "order": 1},
        {"count": 250, "box": 128, "radius": 16, "classes": 1, "order": 0},
        {"count": 30, "box": 96, "radius": 40, "classes": 1, "order": 0, "plan": {"exact": True}},
    ],
    ids=["grids", "table", "images", "exact"],
)
def test_the_measured_peak_is_below_the_model_and_not_far(asked: dict[str, Any]) -> None:
    found = _peak(**asked)
    assert 0.45 * found["modelled"] < found["measured"] < found["modelled"]


def test_four_times_the_particles_take_no_more_memory() -> None:
    same = {"box": 128, "radius": 20, "classes": 1, "order": 0, "plan": {"block_particles": 20}}
    few, many = (_peak(count=count, chunk=count, **same)["measured"] for count in (100, 400))
    # their images alone would take 20 MB more, and what is made of them several times that
    assert many - few < 8_000_000


def test_four_times_the_particles_of_a_2d_classification_take_no_more_memory() -> None:
    few, many = (int(_printed("peak_2d", str(count))) for count in (200, 800))
    # their images alone would take 10 MB more
    assert many - few < 2_000_000


class _Failing:
    """Raises for lack of memory until blocks are small enough."""

    def __init__(self, works_from: int, error: type[Exception]) -> None:
        self.calls: list[int] = []
        self._works_from, self._error = works_from, error

    def __call__(self, images: Any, poses: Any, index: torch.Tensor, *rest: Any) -> Any:
        self.calls.append(int(index.shape[0]))
        if index.shape[0] > self._works_from:
            raise self._error("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return prepare(images, poses, index, *rest)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_that_ran_out_of_memory_starts_again_with_half_and_says_so(
    error: type[Exception], workers: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images, model = case(40, 32, 10, 1, 0, Plan(block_particles=40))
    whole = expectation(images, Poses.start(40), model)
    monkeypatch.setattr("cryorepro.em.expectation_tasks.prepare", _Failing(10, error))
    with caplog.at_level(logging.WARNING):
        halved = expectation(images, Poses.start(40), model, workers)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and all("out of memory: the step starts again with half" in text for text in told)
    assert "10 particles" in told[-1]
    assert torch.equal(whole.poses.class_index, halved.poses.class_index)
    torch.testing.assert_close(halved.noise, whole.noise, rtol=1e-5, atol=1e-9)


def test_when_nothing_is_left_to_halve_the_failure_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images, model = case(40, 32, 10, 1, 0, Plan(block_particles=40, table_bytes=1 << 26))
    failing = _Failing(0, torch.OutOfMemoryError)
    monkeypatch.setattr("cryorepro.em.expectation_tasks.prepare", failing)
    with pytest.raises(torch.OutOfMemoryError, match="20.00 GiB"):
        expectation(images, Poses.start(40), model)
    assert failing.calls == [40, 20, 10, 8]
