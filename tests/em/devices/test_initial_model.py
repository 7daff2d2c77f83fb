"""InitialModel on a device that only pretends to be a GPU: expectation steps run there, with the CPU's bits."""

from __future__ import annotations

import pytest
import torch

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.plan import Plan
from cryorepro.em.initial_model import InitialModelJob, climb
from cryorepro.em.initial_model_start import start_state
from cryorepro.em.initial_model_state import InitialModelSettings, InitialModelState
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.simulated import SimulatedSet, simulated_set


def _after(data: SimulatedSet, device: torch.device) -> InitialModelState:
    settings = InitialModelSettings(
        particle_diameter_angstrom=330.0, number_of_classes=2, initial_iterations=2, inbetween_iterations=2,
        final_iterations=1, initial_subset=20, final_subset=30, initial_resolution_angstrom=90.0,
        final_resolution_angstrom=60.0, healpix_order=0,
    )  # fmt: skip
    job = InitialModelJob(data.image_set(), settings, 3, device=device)
    *_, last = climb(job, start_state(job))
    return last


def test_an_initial_model_runs_on_the_device_and_has_the_bits_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryorepro.em.projection._POINTS_PER_BLOCK_ON_GPU", 1 << 16)
    monkeypatch.setattr("cryorepro.em.initial_model.planned", lambda *_: Plan())
    data = simulated_set(60, box_px=32, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7)
    here = _after(data, CPU)
    with pretend_gpu() as device:
        there = _after(data, GPU)
    assert device.operations > 1000
    assert not isinstance(there.model.volumes, Marked)
    for ours, theirs in (
        (here.model.volumes, there.model.volumes),
        (here.velocity, there.velocity),
        (here.model.sigma2, there.model.sigma2),
        (here.model.poses.euler_deg, there.model.poses.euler_deg),
    ):
        assert torch.equal(ours, theirs)
