"""A map from particles alone: found from every seed tried, in either hand, bit by bit the same on any machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryorepro.em.align import Alignment, align_maps, transform_map
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.initial_model import InitialModelJob, climb, iterate
from cryorepro.em.initial_model_start import random_blob, start_state
from cryorepro.em.initial_model_state import InitialModelSettings, InitialModelState
from tests.em.simulated import SimulatedSet, simulated_set

BOX, PIXEL = 32, 15.08
SETTINGS = InitialModelSettings(
    particle_diameter_angstrom=330.0, initial_iterations=20, inbetween_iterations=25, final_iterations=5,
    initial_resolution_angstrom=60.0, final_resolution_angstrom=38.0, initial_subset=50, final_subset=120,
    offset_range_px=3.0,
)  # fmt: skip
SHORT = replace(SETTINGS, initial_iterations=2, inbetween_iterations=2, final_iterations=1, initial_subset=40)


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    return simulated_set(300, box_px=BOX, pixel_size_angstrom=PIXEL, snr=0.6, seed=2, shift_px=0.75, shares=(1, 0, 0))


def _run(job: InitialModelJob) -> InitialModelState:
    *_, last = climb(job, start_state(job))
    return last


def _resolved(volume: np.ndarray, truth: np.ndarray) -> float:
    """Resolution in Angstrom to which a map agrees with the truth, at any orientation and in the better hand."""
    found = _aligned(truth, volume)
    if not found.same_hand:
        volume = np.ascontiguousarray(np.roll(volume[::-1], 1, axis=0))
        found = _aligned(truth, volume)
    moved = transform_map(volume, found.rotation, found.shift_angstrom / PIXEL)
    return crossing(fsc_curve(truth, moved), 0.5).angstrom(BOX, PIXEL)


def _aligned(truth: np.ndarray, volume: np.ndarray) -> Alignment:
    limits = (70.0, 40.0)  # of the search and of its refinement, in Angstrom
    return align_maps(truth, volume, PIXEL, "C1", *limits, rotations=800)


def test_the_particle_is_found_from_nothing(data: SimulatedSet) -> None:
    job = InitialModelJob(data.image_set(), SETTINGS, seed=1)
    truth = data.volume(0).numpy().astype(np.float64)
    state = _run(job)
    assert _resolved(state.model.volumes[0].numpy().astype(np.float64), truth) <= 45.0
    assert state.model.average_pmax > 0.7
    assert float(state.model.volumes.min()) >= 0.0


def test_what_it_starts_from_is_no_model_of_the_particle(data: SimulatedSet) -> None:
    """Nearly a ball: turned by a quarter it is the same, as the particle is not."""
    job = InitialModelJob(data.image_set(), SETTINGS, seed=1)

    def against_itself_turned(volume: torch.Tensor) -> float:
        turned = np.roll(np.rot90(volume.numpy(), axes=(1, 2)), 1, axis=1)
        return float(fsc_curve(volume.numpy(), turned)[1:4].mean())

    assert against_itself_turned(random_blob(job)) > against_itself_turned(data.volume(0)) + 0.2


def test_one_and_two_workers_and_a_run_taken_up_again_give_the_same_bits(data: SimulatedSet) -> None:
    settings = replace(SHORT, number_of_classes=2)
    one = list(climb(job := InitialModelJob(data.image_set(), settings, 5), start_state(job)))
    two = list(climb(job := InitialModelJob(data.image_set(), settings, 5, workers=2), start_state(job)))
    assert torch.equal(one[-1].model.volumes, two[-1].model.volumes)
    assert torch.equal(one[-1].model.poses.euler_deg, two[-1].model.poses.euler_deg)
    assert torch.equal(iterate(job, two[-2]).velocity, one[-1].velocity)
    other = _run(InitialModelJob(data.image_set(), settings, 6))
    assert not torch.equal(other.model.volumes, one[-1].model.volumes)


def test_particles_no_batch_has_held_keep_the_pose_of_the_start(data: SimulatedSet) -> None:
    job = InitialModelJob(data.image_set(), replace(SHORT, offset_range_px=0.0), seed=3)
    state = iterate(job, start_state(job))
    assert int((state.model.poses.max_probability > 0).sum()) == SHORT.initial_subset
    assert torch.all(state.model.poses.norm == 1.0)


def test_classes_part_from_one_map_after_the_first_phase(data: SimulatedSet) -> None:
    job = InitialModelJob(data.image_set(), replace(SHORT, number_of_classes=2), seed=1)
    states = list(climb(job, start_state(job)))
    assert set(states[1].model.poses.class_index.tolist()) == {0}
    first, second = states[2].model.volumes
    assert not torch.equal(first, second)
    assert set(states[-1].model.poses.class_index.tolist()) == {0, 1}
    assert float(states[-1].model.class_fractions.sum()) == pytest.approx(1.0)


def test_a_symmetry_imposed_while_it_runs_is_in_every_map(data: SimulatedSet) -> None:
    job = InitialModelJob(data.image_set(), replace(SHORT, symmetry="C2", symmetrise_during=True), seed=1)
    volume = _run(job).model.volumes[0].numpy()
    turned = np.roll(volume[:, ::-1, ::-1], (1, 1), (1, 2))
    inner = (slice(4, 28),) * 3
    assert np.corrcoef(volume[inner].ravel(), turned[inner].ravel())[0, 1] > 0.98
