"""Refinement of simulated particles: what it finds, that halves stay apart, bits, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryorepro.em.blobs import euler_matrices
from cryorepro.em.ctf import CtfParameters
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.half_sets import random_halves
from cryorepro.em.homogeneous.dynamic_mask import mask_of, sphere
from cryorepro.em.homogeneous.options import HomogeneousOptions, LocalFilterOptions
from cryorepro.em.homogeneous.refinement import Homogeneous, finish, iterate, run, start
from cryorepro.em.imageset import ArraySource, ImageSet, Poses
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg, symmetric_angle_deg
from cryorepro.em.shell_phantom import octahedral_shell
from cryorepro.em.simulate import Imaging, Views, signal_scale, simulate_images
from cryorepro.em.symmetry import symmetry_matrices
from tests.em.simulated import SimulatedSet, simulated_set

COUNT, BOX, PIXEL = 80, 32, 14.0
C1 = torch.eye(3, dtype=torch.float64)[None]


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    torch.set_num_threads(1)
    return simulated_set(COUNT, BOX, PIXEL, snr=1.0, shift_px=0.7, shares=(1.0, 0.0, 0.0))


def _options(**changes: object) -> HomogeneousOptions:
    return replace(HomogeneousOptions(360.0, C1, shift_range_px=3.0, healpix_order=2), **changes)  # type: ignore[arg-type]


def _begin(data: SimulatedSet, options: HomogeneousOptions, grey: float = 1.0) -> Homogeneous:
    reference = grey * data.volume(0, 50.0).numpy()
    halves = random_halves(COUNT, 1)
    return start(data.image_set(), Poses.start(COUNT), [reference], halves, options, 50.0, 1)


def _errors(state: Homogeneous, data: SimulatedSet) -> torch.Tensor:
    truth = euler_to_matrix(torch.from_numpy(data.views.angles_degrees))
    return rotation_angle_deg(euler_to_matrix(state.refinement.poses.euler_deg), truth)


@pytest.mark.parametrize(
    "changes",
    [{}, {"local_filter": LocalFilterOptions(filters=8)}, {"marginalise": True}, {"kernel": "cubic"}],
    ids=["uniform", "nonuniform", "marginalised", "cubic"],
)
def test_poses_and_map_come_back_from_a_reference_in_any_grey_scale(
    data: SimulatedSet, changes: dict[str, object]
) -> None:
    options = _options(**changes)
    state = _begin(data, options, grey=7.0)
    for _ in range(2):
        state = iterate(data.image_set(), state, options, seed=1, workers=1)
    assert float((_errors(state, data) < 10.0).float().mean()) > 0.9
    curve = fsc_curve(data.volume(0).numpy(), state.refinement.halves[0].reference.numpy())
    assert crossing(curve, 0.5).shell >= 10
    assert float(state.scale.mean()) == pytest.approx(1.0) and 0.0 < float(state.scale.std()) < 0.3


def test_any_number_of_workers_gives_the_same_bits(data: SimulatedSet) -> None:
    options = _options()
    first, second = (iterate(data.image_set(), _begin(data, options), options, 1, workers) for workers in (1, 2))
    assert torch.equal(first.refinement.poses.euler_deg, second.refinement.poses.euler_deg)
    assert torch.equal(first.refinement.halves[1].reference, second.refinement.halves[1].reference)


def test_a_half_never_sees_the_images_of_the_other_beyond_what_they_share(data: SimulatedSet) -> None:
    """Other images in half 2 change nothing in half 1 but the filter and mask both are given: its sums stay."""
    options = _options(join_halves_angstrom=1e4, dynamic_mask=False)
    state = _begin(data, options)
    other = data.images.copy()
    swapped = np.flatnonzero(state.refinement.half_of == 2)
    other[swapped] = np.random.default_rng(3).standard_normal(other[swapped].shape).astype(np.float32)
    changed = replace(data, images=other)
    kept = np.flatnonzero(state.refinement.half_of == 1)
    first, second = (iterate(d.image_set(), state, options, 1, 1) for d in (data, changed))
    assert torch.equal(first.refinement.poses.euler_deg[kept], second.refinement.poses.euler_deg[kept])
    assert torch.equal(first.refinement.halves[0].sigma2, second.refinement.halves[0].sigma2)


def test_it_ends_when_the_resolution_no_longer_improves_and_joins_both_halves(data: SimulatedSet) -> None:
    options = _options(without_gain=1, local_filter=LocalFilterOptions(filters=6))
    images = data.image_set()
    states = list(run(images, _begin(data, options), options, 1, 1, maximum=8))
    assert states[-1].converged and not any(state.converged for state in states[:-1])
    shells = [state.refinement.resolution_shell for state in states]
    assert shells[-1] <= max(shells[:-1])
    finished = finish(images, states[-1], options, 1, 1)
    truth = data.volume(0).numpy()
    joined, half = (
        fsc_curve(truth, volume.numpy())[1:12].mean()
        for volume in (finished.final.state.reference, finished.final.halves[0])
    )
    assert joined > half and finished.local_map is not None
    assert finished.state.curves is not None and finished.state.curves.corrected[0] == 1.0


def test_octahedral_particles_are_found_up_to_their_symmetry() -> None:
    count, box, pixel = 60, 32, 5.0
    imaging = Imaging(box, pixel, 300.0, 2.7, 0.1, 0.5, background_radius_px=0.42 * box)
    stream = np.random.default_rng(4)
    angles = np.stack([stream.uniform(-180, 180, count), np.rad2deg(np.arccos(stream.uniform(-1, 1, count))),
                       stream.uniform(-180, 180, count)], axis=1)  # fmt: skip
    defocus = np.stack([stream.uniform(8e3, 2e4, count)] * 2 + [np.zeros(count)], axis=1)
    views = Views(np.zeros(count, dtype=np.int64), angles, stream.normal(0, 3.0, (count, 2)), defocus)
    model = octahedral_shell(1)
    scale = signal_scale((model,), views, imaging)
    images = np.concatenate(list(simulate_images((model,), views, imaging, scale, stream)))
    every, u = torch.ones(count, dtype=torch.float64), torch.from_numpy(defocus)
    ctf = CtfParameters(u[:, 0], u[:, 1], u[:, 2], every * 0, every * 300.0, every * 2.7, every * 0.1)
    group = torch.zeros(count, dtype=torch.int64)
    stack = ImageSet(ArraySource(images), box, pixel, ctf, group, group)
    group_o = torch.from_numpy(symmetry_matrices("O"))
    options = HomogeneousOptions(140.0, group_o, shift_range_px=3.0, join_halves_angstrom=60.0)
    reference = model.volume(box, pixel, 20.0)
    state = start(stack, Poses.start(count), [reference], random_halves(count, 2), options, 20.0, 1)
    for _ in range(2):
        state = iterate(stack, state, options, 1, 1)
    found = euler_to_matrix(state.refinement.poses.euler_deg)
    error = symmetric_angle_deg(found, torch.from_numpy(euler_matrices(angles)), group_o)
    assert float((error < 6.0).float().mean()) > 0.8


def test_the_mask_follows_the_map_and_falls_back_on_the_sphere(data: SimulatedSet) -> None:
    volume, options = data.volume(0), _options()
    mask = mask_of(volume, PIXEL, 30.0, options)
    inside = volume > 0.5 * volume.max()
    assert float(mask[inside].min()) == 1.0 and float(mask.mean()) < float(sphere(BOX, PIXEL, options).mean())
    assert torch.equal(mask_of(torch.zeros(BOX, BOX, BOX), PIXEL, 30.0, options), sphere(BOX, PIXEL, options))
    given = torch.rand(BOX, BOX, BOX, generator=torch.Generator().manual_seed(1))
    assert torch.equal(mask_of(volume, PIXEL, 30.0, _options(solvent_mask=given)), given)


def test_an_unknown_kernel_is_refused_by_name(data: SimulatedSet) -> None:
    with pytest.raises(InputError, match="'sinc' is not one of cubic, linear"):
        _begin(data, _options(kernel="sinc"))
