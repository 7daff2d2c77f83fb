"""The parts of a movie's simulation, each held against a closed form or another way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryorepro.em.atomic import model_density
from cryorepro.em.movie_twin.detector import make_detector, poisson_table
from cryorepro.em.movie_twin.dose import attenuation, critical_exposure, frame_exposures
from cryorepro.em.movie_twin.frames import add_stamps, warp
from cryorepro.em.movie_twin.ice import IceSpectrum, ice_contrast
from cryorepro.em.movie_twin.motion import MotionAmplitudes, draw_motion, field_terms
from cryorepro.em.movie_twin.optics import DefocusRange, Microscope, MovieDefocus, draw_defocus, frequencies, transfer
from cryorepro.em.movie_twin.shapes import (
    BARREL_DIAMETER_ANGSTROM,
    BARREL_LENGTH_ANGSTROM,
    proteasome,
    receptor_complex,
)
from cryorepro.em.movie_twin.specimen import Specimen, Views, in_water
from cryorepro.em.rotations import matrix_to_euler
from cryorepro.em.simulate import Imaging
from cryorepro.em.simulate import ctf as published_ctf
from cryorepro.em.streams import random_stream
from cryorepro.em.symmetry import symmetry_matrices

PIXEL = 1.72
SCOPE = Microscope(300.0, 2.7, 0.1, 0.0)


def test_the_critical_exposure_is_the_papers_and_damage_multiplies() -> None:
    k = np.array([0.0, 1 / 20, 1 / 8, 1 / 4, 1 / 3])
    critical = critical_exposure(k, 300.0)
    # Grant & Grigorieff 2015, figure 3: some 38 e/A^2 at 20 A, 5 e/A^2 at 4 A, 4.3 e/A^2 at 3 A
    np.testing.assert_allclose(critical[[1, 3, 4]], [38.7, 5.28, 4.34], rtol=0.01)
    assert np.isinf(critical[0]) and critical_exposure(k, 200.0)[2] == pytest.approx(0.8 * critical[2])
    np.testing.assert_allclose(attenuation(k, 10.0, 300.0) * attenuation(k, 15.0, 300.0), attenuation(k, 25.0, 300.0))


def test_counts_are_poissons() -> None:
    mean = 10.7
    table = poisson_table(mean)
    assert table.shape[1] == 2**16
    for level in (1, 64, 128, 300):
        found = np.bincount(table[level], minlength=120) / 2.0**16
        expected = stats.poisson.pmf(np.arange(120), level * mean / 128)
        np.testing.assert_allclose(found, expected, atol=2.0**-16)


def test_the_gain_undoes_the_detector() -> None:
    detector = make_detector(np.random.default_rng(3), (96, 128), 0.05, 4, 2, 100)
    table = poisson_table(12.0)
    stream = np.random.default_rng(4)
    counts = np.mean([detector.expose(np.full((96, 128), 12.0), 12.0, table, stream) for _ in range(400)], axis=0)
    dead = detector.gain == 0
    listed = np.zeros_like(dead)
    for x, y, width, height in detector.defects:
        listed[y : y + height, x : x + width] = True
    assert len(detector.defects) == 2 and (dead == listed).all() and (counts[dead] == 0).all()
    hot = np.zeros_like(dead)
    hot[detector.hot_px[:, 1], detector.hot_px[:, 0]] = True
    assert (counts[hot] > 45).all()
    corrected = (counts * detector.gain)[~dead & ~hot]
    assert abs(corrected.mean() / 12.0 - 1.0) < 0.002
    # what is left is counting noise and the rounding of means to 1 / 128, not the detector's pattern of 5 %
    assert corrected.std() < 1.2 * np.sqrt(12.0 / 400)


def test_the_transfer_function_is_the_one_of_the_conventions() -> None:
    box = 64
    found = MovieDefocus(17_000.0, 15_500.0, 33.0, (0.0, 0.0), (box, box))
    at = frequencies((box, box), PIXEL)
    imaging = Imaging(box, PIXEL, 300.0, 2.7, 0.1, 1.0)
    expected = published_ctf(np.array([[17_250.0, 15_750.0, 33.0]]), imaging)[0]
    np.testing.assert_allclose(transfer(found, 250.0, SCOPE, at), expected, atol=1e-9)
    damped = transfer(found, 250.0, Microscope(300.0, 2.7, 0.1, 50.0), at)
    np.testing.assert_allclose(damped, expected * np.exp(-50.0 * at.squared / 4.0), atol=1e-9)


def test_defocus_spans_its_range_and_some_movies_are_astigmatic() -> None:
    given = DefocusRange(7_000.0, 25_000.0, 150.0, 600.0, 0.4, 200.0)
    drawn = draw_defocus(np.random.default_rng(1), 20, given, (512, 768))
    means = np.sort([(d.u_angstrom + d.v_angstrom) / 2 for d in drawn])
    assert means[0] < 7_900 and means[-1] > 24_100 and (np.diff(means) < 1_800).all()
    splits = np.array([d.u_angstrom - d.v_angstrom for d in drawn])
    assert (splits >= 0).all() and (splits > 200).sum() == 8
    corners = np.array([[0.0, 0.0], [768.0, 0.0], [0.0, 512.0], [768.0, 512.0]])
    for d in drawn:
        assert np.abs(d.offset(corners)).max() == pytest.approx(d.reach_angstrom) and d.reach_angstrom <= 200.5


def test_motion_begins_at_zero_relaxes_and_is_smooth_in_space() -> None:
    exposures = frame_exposures(60.0, 30)
    motion = draw_motion(np.random.default_rng(2), exposures, (400, 600), MotionAmplitudes(12.0, 6.0, 0.0, 8.0), PIXEL)
    points = np.random.default_rng(3).random((50, 2)) * (600, 400)
    moved = motion.displacement(points)
    assert np.abs(moved[0]).max() == 0.0
    local = motion.local(points)
    speed = np.linalg.norm(np.diff(local, axis=0), axis=2).mean(axis=1)
    assert (np.diff(speed) < 0).all() and speed[-1] < 0.1 * speed[0]
    assert 2.0 < np.linalg.norm(local[-1], axis=1).max() * PIXEL < 8.5
    # a polynomial of second degree: its values at nine points give it everywhere
    nine = np.array([[x, y] for x in (0, 300, 600) for y in (0, 200, 400)], dtype=float)
    fitted, *_ = np.linalg.lstsq(field_terms(nine, (400, 600)), motion.local(nine)[-1], rcond=None)
    np.testing.assert_allclose(field_terms(points, (400, 600)) @ fitted, local[-1], atol=1e-9)


def test_particles_land_where_they_should_to_a_hundredth_of_a_pixel() -> None:
    """A stamp that is a Gaussian, against the Gaussian evaluated there; over the edge it is cut."""
    size, sigma = 64, 3.0
    at = frequencies((size, size), PIXEL)
    stamp = 2 * np.pi * sigma**2 * np.exp(-2 * np.pi**2 * (sigma * PIXEL) ** 2 * at.squared)
    stamp[size // 2] = stamp[:, size // 2] = 0.0
    positions = np.array([[40.3, 51.77], [2.5, 90.25]])
    image = np.zeros((96, 80))
    add_stamps(image, np.stack([stamp, stamp]).astype(complex), positions, at, PIXEL)
    y, x = np.indices(image.shape)
    expected = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in positions)
    np.testing.assert_allclose(image, expected, atol=1e-4)


def test_ice_that_has_still_to_move_lies_where_it_will_be_later() -> None:
    rows, columns = 120, 160
    field = np.zeros((2, 6))
    field[0, 1], field[1, 2], field[1, 3], field[0, 0] = 4.0, -3.0, 6.0, 0.5
    y, x = np.indices((rows, columns)).astype(float)

    def pattern(at_x: np.ndarray, at_y: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(2 * np.pi * at_x / 23.0) * np.cos(2 * np.pi * at_y / 31.0))

    u, v = x / columns - 0.5, y / rows - 0.5
    expected = pattern(x + 0.5 + 4.0 * u, y - 3.0 * v + 6.0 * u * u)
    found = warp(pattern(x, y), field)
    np.testing.assert_allclose(found[6:-6, 6:-6], expected[6:-6, 6:-6], atol=0.02)  # of bicubic interpolation


def test_the_ice_carries_the_rings_of_the_local_defocus() -> None:
    """Power vanishes at the zeros of the CTF, for the defocus of each end of a steep plane."""
    shape, steep = (256, 1024), 8.0
    defocus = MovieDefocus(15_000.0, 15_000.0, 0.0, (steep, 0.0), shape)
    at = frequencies(shape, PIXEL)
    image = ice_contrast(np.random.default_rng(5), IceSpectrum(0.04), defocus, SCOPE, at)
    small, window = frequencies((256, 256), PIXEL), np.hanning(256)
    for left in (0, 768):
        power = np.abs(np.fft.rfft2(image[:, left : left + 256] * window * window[:, None])) ** 2
        here = steep * (left + 128 - 512)
        power /= IceSpectrum(0.04).amplitude(small) ** 2
        band = (small.radius > 0.03) & (small.radius < 0.14)
        expected = transfer(defocus, here, SCOPE, small)[band] ** 2
        other = transfer(defocus, -here, SCOPE, small)[band] ** 2
        fit = np.corrcoef(power[band], expected)[0, 1]
        assert fit > 0.35 and fit > np.corrcoef(power[band], other)[0, 1] + 0.3


def test_the_barrel_has_the_proteasomes_size_mass_and_symmetry() -> None:
    model = proteasome(3)
    positions = model.positions_angstrom
    radius = np.hypot(positions[:, 0], positions[:, 1])
    assert abs(2 * radius.max() - BARREL_DIAMETER_ANGSTROM) < 6
    assert abs(np.ptp(positions[:, 2]) - BARREL_LENGTH_ANGSTROM) < 6
    weight = {"C": 12.011, "N": 14.007, "O": 15.999}
    # hydrogens, about one per heavy atom, weigh some 7 % of a protein
    assert sum(weight[element] for element in model.elements) / 0.93 == pytest.approx(700e3, rel=0.05)
    for operator in symmetry_matrices("D7"):
        distances, partners = cKDTree(positions).query(positions @ operator.T)
        assert np.max(distances) < 1e-6 and len(np.unique(partners)) == len(positions)


def test_projections_are_sums_along_the_beam_of_the_turned_model() -> None:
    """Fourier slices of the map against densities built from the turned atoms."""
    box = 80
    model = receptor_complex(1).centred()
    density = in_water(model_density(model, box, 2.0, 60.0), 2.0)
    nothing = np.empty((0, box, box, box))
    views = Views(Specimen(density, nothing, np.zeros_like(density), 2.0))
    turns = Rotation.random(3, random_state=1).as_matrix()
    angles = matrix_to_euler(torch.from_numpy(turns)).numpy()
    found = views.project(angles, np.zeros(3, dtype=np.int64))
    for turn, image in zip(turns, found, strict=True):
        turned = in_water(model_density(model.moved(turn, np.zeros(3)), box, 2.0, 60.0), 2.0)
        expected = turned.sum(axis=0) * 2.0
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.9985
        assert np.abs(image - expected).std() < 0.06 * expected.std()


def test_streams_of_different_names_are_different() -> None:
    assert receptor_complex(1).positions_angstrom.shape == receptor_complex(2).positions_angstrom.shape
    assert not np.allclose(receptor_complex(1).positions_angstrom, receptor_complex(2).positions_angstrom)
    assert random_stream(1, "movie-1/ice").random() != random_stream(1, "movie-2/ice").random()
