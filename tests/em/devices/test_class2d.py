"""2D classification on a device that only pretends to be a GPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cryorepro.em.class2d import Class2DJob, classify_2d
from cryorepro.em.class2d_coarse import coarse_pass
from cryorepro.em.class2d_plan import PlaneShape, plane_bytes
from cryorepro.em.class2d_start import start_2d
from cryorepro.em.class2d_state import Class2DSettings, Class2DState
from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.plan import Plan
from cryorepro.em.devices.planning import largest_plan, that_fits
from cryorepro.em.imageset import Poses
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.views import ViewSet, view_set

SETTINGS = Class2DSettings(
    particle_diameter_angstrom=360.0, number_of_classes=3, iterations=3, tau2_fudge=2.0, psi_step_degrees=20.0,
    offset_range_px=3.0, offset_step_px=1.5, zero_mask=True, norm=True, scale=True, flatten_solvent=True,
    ctf_intact_first_peak=True, early_iterations=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def seen() -> ViewSet:
    return view_set(60, 3, box_px=32, pixel_size_angstrom=14.0, snr=0.3, seed=4, shift_px=0.7)


def _after(seen: ViewSet, device: torch.device, exact: bool) -> Class2DState:
    images = seen.data.image_set(2)
    job = Class2DJob(images, SETTINGS, 3, device=device, exact=exact)
    *_, last = classify_2d(job, start_2d(job, Poses.start(len(images))))
    return last


def _same(ours: Class2DState, theirs: Class2DState) -> None:
    for name in Class2DState.__dataclass_fields__:
        one, other = getattr(ours, name), getattr(theirs, name)
        if isinstance(one, Tensor):
            assert not isinstance(other, Marked), f"{name} stayed on the device"
            assert torch.equal(one, other), name
        elif isinstance(one, Poses):
            assert all(torch.equal(getattr(one, f), getattr(other, f)) for f in Poses.__dataclass_fields__)
        else:
            assert one == other, name


@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
def test_a_classification_runs_on_the_device_and_has_the_bits_of_the_cpu(
    seen: ViewSet, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what a GPU has free is not to be asked of one that is not there; its plan is the CPU's, for the same bits
    monkeypatch.setattr("cryorepro.em.class2d.free_bytes", lambda _device: 1 << 32)
    monkeypatch.setattr("cryorepro.em.class2d.plane_plan", lambda *rest: Plan(block_particles=25, exact=rest[3]))
    here = _after(seen, CPU, exact)
    with pretend_gpu() as device:
        there = _after(seen, GPU, exact)
    assert device.operations > 1000
    _same(here, there)


def test_a_step_that_lacks_memory_starts_again_with_less_and_finds_the_same(
    seen: ViewSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, calls = _after(seen, CPU, exact=False), []

    def short_of_memory(*given: object) -> object:
        calls.append(given)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("no memory")
        return coarse_pass(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("cryorepro.em.class2d_chunk.coarse_pass", short_of_memory)
    again = _after(seen, CPU, exact=False)
    assert "starts again with half" in caplog.text
    assert torch.equal(plain.poses.class_index, again.poses.class_index)
    assert torch.allclose(plain.averages, again.averages, atol=1e-5)


@pytest.mark.parametrize(
    ("box_px", "classes", "gigabytes"), [(360, 200, 16), (512, 200, 24), (256, 50, 6)], ids=["360", "512", "256"]
)
def test_jobs_are_planned_to_fit_their_cards(box_px: int, classes: int, gigabytes: int) -> None:
    radius, free = box_px // 2, gigabytes << 30
    pixels = int(math.pi / 2.0 * radius**2)
    shape = PlaneShape(
        box_px, pixels, pixels // 9, (4 * radius + 3) * (2 * radius + 2), classes, classes * 15, 21, 30, 2
    )  # fmt: skip
    device = torch.device("cuda", 0)
    plan = that_fits(largest_plan(device, free), lambda tried: plane_bytes(shape, tried), free)
    assert plane_bytes(shape, plan) < 0.8 * free
    # room for a useful number of particles, of averages and of scores is left
    assert plan.block_particles >= 64 and plan.table_bytes // (24 * pixels) >= 100
