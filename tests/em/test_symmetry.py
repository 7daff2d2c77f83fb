"""Point groups: closure, and the same rotations as the real RELION's symmetry expansion."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.symmetry import normalise_symmetry, rotation_about_axis, symmetry_matrices, symmetry_order

GROUPS = {"C1": 1, "C3": 3, "C7": 7, "D1": 2, "D2": 4, "D3": 6, "D7": 14, "T": 12, "O": 24,
          "I": 60, "I1": 60, "I2": 60, "I3": 60, "I4": 60}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), GROUPS.items())
def test_every_group_is_closed_and_made_of_rotations(name: str, order: int) -> None:
    group = symmetry_matrices(name)
    assert group.shape == (order, 3, 3) and symmetry_order(name) == order
    np.testing.assert_array_equal(group[0], np.eye(3))
    np.testing.assert_allclose(group @ group.transpose(0, 2, 1), np.broadcast_to(np.eye(3), group.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(group), 1.0, atol=1e-12)
    products = (group[:, None] @ group[None]).reshape(-1, 1, 9)
    nearest = np.abs(products - group.reshape(1, -1, 9)).max(-1)
    assert nearest.min(1).max() < 1e-9
    assert ((nearest < 1e-9).sum(1) == 1).all(), "no element appears twice"


def _euler(rot: float, tilt: float, psi: float) -> np.ndarray:
    """RELION's Euler matrix: passive ZYZ, written out here and not taken from the package."""

    def about_z(degrees: float) -> np.ndarray:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])

    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    about_y = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    matrix: np.ndarray = about_z(psi) @ about_y @ about_z(rot)
    return matrix


@pytest.mark.parametrize("name", [name for name in GROUPS if name not in ("C1", "D1")])
def test_the_same_orientations_as_relions_symmetry_expansion(name: str, tmp_path: Path) -> None:
    program = shutil.which("relion_particle_symmetry_expand")
    assert program is not None, "the real RELION must be installed for this test"
    labels = ["ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst"]
    header = "\ndata_\n\nloop_\n" + "".join(f"_rln{label} #{i + 1}\n" for i, label in enumerate(labels))
    (tmp_path / "one.star").write_text(header + "000001@a.mrcs 20 35 50 0 0\n\n")
    subprocess.run([program, "--i", "one.star", "--o", "out.star", "--sym", name], cwd=tmp_path, check=True,
                   capture_output=True)  # fmt: skip
    rows = [line.split() for line in (tmp_path / "out.star").read_text().splitlines() if "a.mrcs" in line]
    theirs = np.stack([_euler(20, 35, 50).T @ _euler(*(float(x) for x in row[1:4])) for row in rows])
    ours = symmetry_matrices(name)
    distance = np.abs(theirs[:, None] - ours[None]).max((-1, -2))
    assert len(theirs) == len(ours)
    assert distance.min(1).max() < 1e-5 and distance.min(0).max() < 1e-5


def test_spelling_is_forgiving_but_names_are_not() -> None:
    assert normalise_symmetry(" c4 ") == "C4" and normalise_symmetry("i") == "I2"
    for wrong in ("", "C0", "C", "X2", "C1000", "O2", "I5", "C-1", "D 2"):
        with pytest.raises(InputError, match="symmetry"):
            symmetry_matrices(wrong)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: math.hypot(*v) > 0.1), st.floats(-7, 7))
def test_rotation_about_an_axis_keeps_the_axis_and_turns_by_the_angle(
    axis: tuple[float, float, float], angle: float
) -> None:
    turned = rotation_about_axis(axis, angle)
    np.testing.assert_allclose(turned @ np.array(axis), axis, atol=1e-12)
    assert np.trace(turned) == pytest.approx(1 + 2 * math.cos(angle), abs=1e-12)


def test_the_result_can_be_changed_without_harm() -> None:
    symmetry_matrices("O")[:] = 0.0
    assert np.linalg.det(symmetry_matrices("O")).min() > 0.99
