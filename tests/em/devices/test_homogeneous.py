"""Homogeneous and non-uniform refinement on a device that only pretends to be a GPU: searched there, same bits."""

from __future__ import annotations

import pytest
import torch

from cryorepro.em.devices.choice import CPU
from cryorepro.em.half_sets import random_halves
from cryorepro.em.homogeneous.options import HomogeneousOptions, LocalFilterOptions
from cryorepro.em.homogeneous.refinement import Finished, finish, iterate, start
from cryorepro.em.homogeneous.search import CPU_PLAN
from cryorepro.em.imageset import Poses
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.simulated import SimulatedSet, simulated_set

COUNT = 40


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    return simulated_set(COUNT, box_px=32, pixel_size_angstrom=14.0, snr=1.0, shift_px=0.7, shares=(1.0, 0.0, 0.0))


def _finished(data: SimulatedSet, device: torch.device, kernel: str, marginalise: bool) -> Finished:
    options = HomogeneousOptions(
        360.0, torch.eye(3, dtype=torch.float64)[None], shift_range_px=3.0, healpix_order=1, kernel=kernel,
        marginalise=marginalise, local_filter=LocalFilterOptions(filters=6), device=device,
    )  # fmt: skip
    images = data.image_set()
    reference = data.volume(0, 50.0).numpy()
    state = start(images, Poses.start(COUNT), [reference], random_halves(COUNT, 1), options, 50.0, 1)
    for _ in range(2):
        state = iterate(images, state, options, 1, 1)
    return finish(images, state, options, 1, 1)


@pytest.mark.parametrize(("kernel", "marginalise"), [("linear", False), ("cubic", True)])
def test_a_refinement_runs_on_the_device_and_has_the_bits_of_the_cpu(
    data: SimulatedSet, kernel: str, marginalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what a GPU has free is not to be asked of one that is not there; its plan is the CPU's, for the same bits
    monkeypatch.setattr("cryorepro.em.projection._POINTS_PER_BLOCK_ON_GPU", 1 << 16)
    monkeypatch.setattr("cryorepro.em.homogeneous.refinement.free_bytes", lambda _device: 1 << 32)
    monkeypatch.setattr("cryorepro.em.homogeneous.refinement.largest_plan", lambda *_: CPU_PLAN)
    # the products of the coarse grid round to another format on a GPU
    monkeypatch.setattr("cryorepro.em.devices.choice.torch.set_float32_matmul_precision", lambda _word: None)
    here = _finished(data, CPU, kernel, marginalise)
    with pretend_gpu() as device:
        there = _finished(data, GPU, kernel, marginalise)
    assert device.operations > 1000
    assert here.local_map is not None and there.local_map is not None
    ours, theirs = here.final.state, there.final.state
    for one, other in (
        (ours.reference, theirs.reference),
        (ours.sigma2, theirs.sigma2),
        (here.local_map, there.local_map),
        (here.state.scale, there.state.scale),
        (here.state.refinement.poses.euler_deg, there.state.refinement.poses.euler_deg),
        (here.state.refinement.poses.log_likelihood, there.state.refinement.poses.log_likelihood),
    ):
        assert not isinstance(other, Marked)
        assert torch.equal(one, other)
