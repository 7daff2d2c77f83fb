"""Maps held against each other: what differs is found where it is, and named when it is a known mistake."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryorepro.em.align import transform_map
from cryorepro.em.errors import InputError
from cryorepro.em.lowpass import fourier_radius, multiply_fourier, raised_cosine
from cryorepro.em.map_comparison import compare_maps, local_difference, real_space_correlation
from cryorepro.em.map_diagnosis import best_scale, diagnose_map, symmetry_correlation
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.spherical import radial_profile, spherical_average, without_spherical_average
from cryorepro.em.symmetry import symmetry_matrices
from tests.em.blobs import BOX, PIXEL, blob_map

NO_SHIFT = np.zeros(3)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return blob_map()


@pytest.fixture(scope="module")
def noise(volume: np.ndarray) -> np.ndarray:
    return np.asarray(0.2 * volume.std() * np.random.default_rng(1).normal(size=volume.shape))


def test_a_scaled_copy_differs_nowhere_and_a_lost_blob_where_it_was(volume: np.ndarray) -> None:
    everywhere = np.ones_like(volume)
    same = local_difference(volume, 3.0 * volume + 2.0, everywhere)
    assert same.rms == pytest.approx(0.0, abs=1e-9)
    assert real_space_correlation(volume, 3.0 * volume + 2.0, everywhere) == pytest.approx(1.0)
    lost = volume.copy()
    lost[12:17, 15:20, 14:19] = 0.0
    found = local_difference(volume, lost, everywhere)
    assert all(abs(at - centre) <= 4 for at, centre in zip(found.largest_at_px, (14, 17, 16), strict=True))


def test_correlation_is_numpys_inside_a_mask(volume: np.ndarray, noise: np.ndarray) -> None:
    inside = spherical_mask(BOX, 8.0, 0.0)
    expected = np.corrcoef(volume[inside > 0], (volume + noise)[inside > 0])[0, 1]
    assert real_space_correlation(volume, volume + noise, inside) == pytest.approx(expected)


def test_a_turned_map_is_brought_back(volume: np.ndarray) -> None:
    turn = np.asarray(Rotation.from_rotvec([0.6, -0.9, 1.1]).as_matrix())
    moved = transform_map(volume, turn, np.array([1.0, -1.0, 0.5]))
    found = compare_maps(volume, moved, PIXEL, spherical_mask(BOX, 12.0, 3.0))
    assert found.alignment is not None and found.alignment.same_hand
    assert found.correlation > 0.9
    assert compare_maps(volume, moved, PIXEL, align=False).correlation < 0.7
    with pytest.raises(InputError, match="do not fit"):
        compare_maps(volume, volume[:16, :16, :16], PIXEL)


def test_the_right_map_has_nothing_to_explain(volume: np.ndarray, noise: np.ndarray) -> None:
    assert diagnose_map(volume + noise, volume, PIXEL) == []


def test_a_mirrored_map_has_the_wrong_hand(volume: np.ndarray, noise: np.ndarray) -> None:
    mirrored = np.roll(volume[::-1], 1, axis=0)
    (found,) = diagnose_map(mirrored + noise, volume, PIXEL)
    assert found.kind == "hand" and "mirror image" in found.sentence


@pytest.mark.parametrize("scale", [0.93, 1.08])
def test_another_magnification_is_another_pixel_size(volume: np.ndarray, noise: np.ndarray, scale: float) -> None:
    smaller = blob_map(scale=scale)
    (found,) = diagnose_map(smaller + noise, volume, PIXEL)
    assert found.kind == "pixel-size"
    assert found.figures["scale"] == pytest.approx(scale, abs=0.01)
    assert best_scale(volume, volume).scale == pytest.approx(1.0, abs=0.002)


def test_large_maps_are_cropped_and_the_pixel_size_told_is_theirs(volume: np.ndarray) -> None:
    """The same blobs in a finer box: 96 voxels of a third of the size."""
    fine, smaller = blob_map(fine=3), blob_map(scale=0.93, fine=3)
    (found,) = diagnose_map(smaller, fine, PIXEL / 3)
    assert found.kind == "pixel-size"
    assert found.figures["implied_pixel_size_angstrom"] == pytest.approx(PIXEL / 3 / 0.93, rel=0.01)


def test_imposed_and_missing_axes_are_told_apart(volume: np.ndarray, noise: np.ndarray) -> None:
    turned = [transform_map(volume, operator, NO_SHIFT) for operator in symmetry_matrices("C4")]
    round_about_z = np.mean(turned, axis=0)
    assert symmetry_correlation(round_about_z, "C4") > 0.95 > symmetry_correlation(volume, "C4")
    (found,) = diagnose_map(round_about_z, volume, PIXEL)
    assert (found.kind, found.figures["group"]) == ("symmetry", "C4")
    (found,) = diagnose_map(volume, round_about_z, PIXEL, "C4")
    assert found.kind == "symmetry" and "lacks" in found.sentence


def test_unrelated_maps_are_given_no_false_reason(volume: np.ndarray) -> None:
    blur = raised_cosine(fourier_radius(BOX), 4.0, 8.0)
    other = multiply_fourier(np.random.default_rng(9).normal(size=volume.shape), blur)
    assert diagnose_map(other, volume, PIXEL) == []


def test_a_spherical_average_depends_on_radius_alone(volume: np.ndarray) -> None:
    ball = spherical_mask(BOX, 8.0, 4.0)
    assert np.abs(without_spherical_average(ball)).max() < 0.1
    assert np.abs(radial_profile(without_spherical_average(volume))).max() < 0.05 * volume.max()
    assert spherical_average(volume)[BOX // 2, BOX // 2, BOX // 2] == volume[BOX // 2, BOX // 2, BOX // 2]
