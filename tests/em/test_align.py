"""Alignment finds motions that were made, and tells the hands apart; pictures are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from cryorepro.em.align import align_maps, rotation_grid, transform_map, unique_rotations
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.render import section_panels, write_sections_png
from cryorepro.em.symmetry import symmetry_matrices
from tests.em.halves import phantom

TURN = np.asarray(Rotation.from_euler("zyz", [25, 65, -110], degrees=True).as_matrix())


def test_transforming_moves_a_point_as_stated() -> None:
    volume = np.zeros((16, 16, 16))
    volume[8, 8, 12] = 1.0  # at x = +4
    quarter = np.asarray(Rotation.from_euler("z", 90, degrees=True).as_matrix())
    moved = transform_map(volume, quarter, np.array([0.0, 1.0, -2.0]))
    assert moved[6, 13, 8] == pytest.approx(1.0) and moved.sum() == pytest.approx(1.0)
    mirrored = transform_map(volume, np.diag([-1.0, 1.0, 1.0]), np.zeros(3))
    assert mirrored[8, 8, 4] == 1.0


def test_a_known_motion_is_found_and_the_other_hand_is_worse() -> None:
    moving = phantom(32)
    shift = np.array([1.5, -2.0, 0.5])
    fixed = transform_map(moving, TURN, shift)
    found = align_maps(fixed, moving, 4.0, search_resolution_angstrom=24.0, rotations=2000)
    assert np.degrees(Rotation.from_matrix(TURN.T @ found.rotation).magnitude()) < 1.0
    np.testing.assert_allclose(found.shift_angstrom, 4.0 * shift, atol=0.5)
    assert found.same_hand and found.score > found.other_hand_score + 0.1
    again = transform_map(moving, found.rotation, found.shift_angstrom / 4.0)
    assert fsc_curve(fixed, again)[1:10].min() > 0.95


def test_a_mirrored_map_is_called_so() -> None:
    moving = phantom(32)
    fixed = transform_map(moving, np.diag([1.0, 1.0, -1.0]), np.zeros(3))
    found = align_maps(fixed, moving, 4.0, search_resolution_angstrom=24.0, rotations=2000)
    assert not found.same_hand


def test_the_grid_covers_all_rotations_and_symmetry_thins_it() -> None:
    grid = rotation_grid(4608)
    anywhere = Rotation.random(50, random_state=1).as_matrix()
    nearest = [np.degrees(Rotation.from_matrix(one.T @ grid).magnitude()).min() for one in anywhere]
    assert max(nearest) < 15.0
    reduced = unique_rotations(grid, "O")
    assert len(reduced) == pytest.approx(4608 / 24, rel=0.15)
    for one in anywhere[:10]:
        equivalents = np.einsum("sij,rjk->srik", one @ symmetry_matrices("O"), reduced.transpose(0, 2, 1))
        angles = np.degrees(Rotation.from_matrix(equivalents.reshape(-1, 3, 3)).magnitude())
        assert angles.min() < 15.0


def test_maps_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be aligned"):
        align_maps(phantom(32), phantom(24), 4.0)


def test_the_picture_holds_three_sections_and_a_projection(tmp_path: Path) -> None:
    volume = phantom(32)
    write_sections_png(tmp_path / "map.png", volume, 4.0, title="a map")
    with Image.open(tmp_path / "map.png") as image:
        assert image.format == "PNG" and image.width > 3 * image.height > 300
        assert len(set(image.convert("L").get_flattened_data())) > 50
    panels = section_panels(volume)
    np.testing.assert_array_equal(panels["section x"], volume[:, :, 16])
    np.testing.assert_allclose(panels["projection z"], volume.sum(axis=0))
    first = (tmp_path / "map.png").read_bytes()
    write_sections_png(tmp_path / "map.png", volume, 4.0, title="a map")
    assert (tmp_path / "map.png").read_bytes() == first
