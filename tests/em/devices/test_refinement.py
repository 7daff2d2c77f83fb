"""Refinement on the pretended device and in exact mode: the CPU's bits, global and local search alike."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.plan import Plan
from cryorepro.em.imageset import Poses
from cryorepro.em.refine3d import Refinement, iterate, start
from cryorepro.em.refine_schedule import Schedule
from cryorepro.em.refine_state import HalfState, RefineOptions
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.simulated import SimulatedSet, simulated_set


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    return simulated_set(40, box_px=32, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7)


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of a GPU that is not there is the CPU's, products round and sums run alike, for the same bits."""
    monkeypatch.setattr("cryorepro.em.projection._POINTS_PER_BLOCK_ON_GPU", 1 << 16)
    for part in ("coarse_pass", "fine_pass"):
        monkeypatch.setattr(f"cryorepro.em.{part}.product_precision", lambda *_args: nullcontext())
    monkeypatch.setattr(
        "cryorepro.em.refine_state.planned", lambda *_args: Plan(block_particles=9, exact=bool(_args[4]))
    )


def _two(data: SimulatedSet, device: torch.device, exact: bool, local: bool, workers: int = 1) -> Refinement:
    images = data.image_set()
    options = RefineOptions(
        particle_diameter_angstrom=330.0, symmetry=torch.eye(3, dtype=torch.float64)[None], firstiter_cc=not local,
        poses_are_given=local, device=device, exact=exact,
    )  # fmt: skip
    order = 2 if local else 0
    schedule = Schedule(
        healpix_order=order, oversampling=1, offset_range_px=3.0, offset_step_px=2.0, radius=16, finest_order=3,
        local_order=2 if local else 9,
    )  # fmt: skip
    poses = Poses.start(40, euler_deg=torch.from_numpy(data.views.angles_degrees))
    halves = np.arange(40) % 2 + 1
    reference = data.volume(0).numpy()
    state = start(images, poses, [reference], halves, schedule, options, 70.0, 2.0, workers)
    for _ in range(2):
        state = iterate(images, state, options, 5, workers)
    return state


def _tensors(state: Refinement) -> list[Tensor]:
    found = [state.fsc, *(getattr(state.poses, name) for name in Poses.__dataclass_fields__)]
    for half in state.halves:
        values = [getattr(half, name) for name in HalfState.__dataclass_fields__]
        found += [value for value in values if isinstance(value, Tensor)]
    return found


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
def test_a_refinement_runs_on_the_device_and_has_the_bits_of_the_cpu(
    local: bool, exact: bool, data: SimulatedSet
) -> None:
    here = _two(data, CPU, exact, local)
    with pretend_gpu() as device:
        there = _two(data, GPU, exact, local)
    assert device.operations > 3000
    for ours, theirs in zip(_tensors(here), _tensors(there), strict=True):
        assert not isinstance(theirs, Marked)
        assert torch.equal(ours, theirs)
    assert here.schedule == there.schedule and here.accuracy == there.accuracy


def test_exact_sums_of_a_local_search_are_the_default_but_for_rounding(data: SimulatedSet) -> None:
    plain, exact = (_two(data, CPU, mode, local=True, workers=2) for mode in (False, True))
    assert torch.equal(plain.poses.class_index, exact.poses.class_index)
    torch.testing.assert_close(plain.halves[0].reference, exact.halves[0].reference, rtol=1e-3, atol=1e-4)
