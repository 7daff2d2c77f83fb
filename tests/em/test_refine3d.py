"""Refinement of real apoferritin particles, its random-pose control, and the accuracy estimate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cryorepro_datasets.empiar_10146 import Empiar10146

from cryorepro.em.assignment_accuracy import assignment_changes, estimate_accuracy
from cryorepro.em.atomic import model_density, read_model
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.half_sets import random_halves, unregularised
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.model_symmetry import orient_to_symmetry
from cryorepro.em.particle_images import open_particle_images, read_matching_map
from cryorepro.em.pose_reconstruction import sums_from_poses
from cryorepro.em.refine3d import Refinement, indices, iterate, sampling_of, start, start_directions
from cryorepro.em.refine_schedule import Schedule
from cryorepro.em.refine_state import RefineOptions, estep_model
from cryorepro.em.rotations import euler_to_matrix, matrix_to_euler, random_rotations
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.model.dataset import DataRequest, PreparedData
from tests.em.real_data import real_data

BOX, PIXEL, DIAMETER = 64, 3.0, 140.0
OCTAHEDRAL = torch.from_numpy(symmetry_matrices("O"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    directory = tmp_path_factory.mktemp("apoferritin")
    request = DataRequest(
        tier="subset", directory=directory / "data", truth_directory=directory / "truth", seed=1,
        local_path=real_data("apoferritin_EMPIAR-10146"),
    )  # fmt: skip
    return Empiar10146().prepare(request)


@pytest.fixture(scope="module")
def images(data: PreparedData) -> ImageSet:
    torch.set_num_threads(1)
    return open_particle_images(data.files["particles"]).images


@pytest.fixture(scope="module")
def density() -> np.ndarray:
    model = orient_to_symmetry(read_model(real_data("models", "4v1w.cif")), "O")
    return model_density(model, BOX, PIXEL)


def _shell(volume: np.ndarray, density: np.ndarray, threshold: float = 0.5) -> int:
    return crossing(fsc_curve(volume, density), threshold).shell


def _start(images: ImageSet, reference: Path, order: int, count: int | None = None) -> tuple[Refinement, RefineOptions]:
    options = RefineOptions(DIAMETER, OCTAHEDRAL)
    halves = random_halves(len(images), 1)
    if count is not None:
        halves[count:] = 0
    schedule = Schedule(order, 1, 4.0, 2.0, radius=BOX // 2, finest_order=order)
    volume = read_matching_map(reference, BOX, PIXEL).numpy()
    state = start(images, Poses.start(len(images)), [volume], halves, schedule, options, 20.0, 10.0 / PIXEL, workers=1)
    return state, options


def test_real_particles_reach_eleven_angstrom_against_the_model(
    images: ImageSet, data: PreparedData, density: np.ndarray
) -> None:
    """No pose is given, only the model low-passed to 20 A: two rough and one fine iteration over all."""
    state, options = _start(images, data.files["reference"], order=2)
    before = _shell(state.halves[0].reference.numpy(), density)
    for _ in range(2):
        state = iterate(images, state, options, seed=1, workers=2)
    finer = replace(state.schedule, healpix_order=3, offset_range_px=2.5, offset_step_px=1.0)
    halves = tuple(start_directions(half, finer, options) for half in state.halves)
    state = replace(state, schedule=finer, halves=(halves[0], halves[1]))
    state = iterate(images, state, options, seed=1, workers=2)
    joined = (state.halves[0].reference + state.halves[1].reference).numpy()
    assert BOX * PIXEL / _shell(joined, density) <= 11.0
    assert _shell(joined, density) > before, "what is beyond the reference's 20 A came from the particles"
    assert _shell(joined[::-1], density) < 12, "the mirrored map does not fit"
    assert BOX * PIXEL / state.resolution_shell < 14.0
    assert joined[32, 32, 32] < 0.3 * joined.max(), "apoferritin is hollow"


def test_random_poses_do_not_pass_for_a_structure(images: ImageSet, density: np.ndarray) -> None:
    """The control of the figure above; its half maps agree to 11 A nevertheless, which proves nothing."""
    euler = matrix_to_euler(random_rotations(len(images), torch.Generator().manual_seed(1)))
    poses = Poses.start(len(images), None, euler)
    halves = random_halves(len(images), 1)
    grids = [sums_from_poses(images, poses, indices(halves, half), 28, OCTAHEDRAL) for half in (1, 2)]
    maps = [volume.numpy() for volume in unregularised(grids, BOX, 28)]
    assert BOX * PIXEL / _shell(maps[0] + maps[1], density) > 20.0
    between = crossing(fsc_curve(maps[0], maps[1]), 0.143)
    assert BOX * PIXEL / between.shell < 14.0


def test_reconstruction_from_given_poses_reaches_the_model(images: ImageSet, density: np.ndarray) -> None:
    """The deposit's own poses, read with this package's conventions: shell 16 of 192 A without any prior."""
    given = open_particle_images(real_data("apoferritin_EMPIAR-10146", "particles_64px_3.0A.star"))
    everything = torch.arange(len(images))
    grid = sums_from_poses(images, given.start_poses(), everything, 28, OCTAHEDRAL)
    volume = unregularised([grid], BOX, 28)[0].numpy()
    assert _shell(volume, density) >= 16


def test_halves_do_not_see_each_other(images: ImageSet, data: PreparedData) -> None:
    """Other particles in half 2 leave half 1 as it was, beyond the joined shells."""
    state, options = _start(images, data.files["reference"], order=1, count=120)
    other = state.half_of.copy()
    other[np.flatnonzero(other == 2)] = 0
    other[120:180] = 2
    apart = replace(options, join_halves_angstrom=10_000.0)
    first = iterate(images, state, apart, seed=1, workers=1)
    second = iterate(images, replace(state, half_of=other), apart, seed=1, workers=1)
    ours, theirs = indices(state.half_of, 1), indices(other, 1)
    torch.testing.assert_close(first.poses.euler_deg[ours], second.poses.euler_deg[theirs])
    # shell 1 is joined whatever is asked for
    torch.testing.assert_close(first.halves[0].map_sigma2[2:], second.halves[0].map_sigma2[2:])
    assert not torch.equal(first.halves[1].map_sigma2[2:], second.halves[1].map_sigma2[2:])


def test_the_estimated_accuracy_costs_what_it_claims(images: ImageSet, data: PreparedData) -> None:
    """Half the noise halves the error; an error of the estimated size costs odds of 100 to 1 on average."""
    state, options = _start(images, data.files["reference"], order=2)
    model = estep_model(state.halves[0], images, state.schedule, sampling_of(state, options, 1), options, False, 0)
    euler = matrix_to_euler(random_rotations(len(images), torch.Generator().manual_seed(2)))
    poses, some = Poses.start(len(images), None, euler), torch.arange(12)
    found = estimate_accuracy(images, poses, model, some)
    quieter = replace(model, preparation=replace(model.preparation, sigma2=model.preparation.sigma2 / 4.0))
    better = estimate_accuracy(images, poses, quieter, some)
    assert better.rotation_deg == pytest.approx(found.rotation_deg / 2.0, rel=1e-3)
    assert better.offset_px == pytest.approx(found.offset_px / 2.0, rel=1e-3)
    assert 1.0 < found.rotation_deg < 20.0 and 0.1 < found.offset_px < 3.0


def test_changes_are_zero_for_equivalent_orientations() -> None:
    euler = matrix_to_euler(random_rotations(20, torch.Generator().manual_seed(4)))
    before = Poses.start(20, None, euler)
    same = replace(before, euler_deg=matrix_to_euler(euler_to_matrix(euler) @ OCTAHEDRAL[7]))
    assert assignment_changes(before, same, OCTAHEDRAL).rotation_deg == pytest.approx(0.0, abs=1e-4)
    moved = replace(before, origin_px=before.origin_px + torch.tensor([1.0, -1.0]))
    changes = assignment_changes(before, moved, OCTAHEDRAL)
    assert changes.rotation_deg == pytest.approx(0.0, abs=1e-6)
    assert changes.offset_px == pytest.approx(1.0)
