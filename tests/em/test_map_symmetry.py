"""The axes of a map: found in any orientation, off the centre and in noise, and laid on the group's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryorepro.em.blobs import BlobModel
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.map_symmetry import SymmetryAxes, find_axes, symmetrised_on_axes
from cryorepro.em.phantom import ribosome
from cryorepro.em.shell_phantom import octahedral_shell
from cryorepro.em.symmetry import symmetry_matrices

BOX, PIXEL = 32, 6.0


def _turned(model: BlobModel, seed: int, shift: tuple[float, float, float]) -> torch.Tensor:
    """A map of ``model`` at a random orientation, off the centre, with a third of its deviation in noise."""
    matrix = Rotation.random(random_state=seed).as_matrix()
    moved = BlobModel(model.centres_angstrom @ matrix.T + np.array(shift), model.sigmas_angstrom, model.masses)
    volume = moved.volume(BOX, PIXEL)
    noise = np.random.default_rng(seed).standard_normal(volume.shape)
    return torch.from_numpy(volume + 0.3 * volume.std() * noise).float()


def _ring(fold: int) -> BlobModel:
    """Lumps off the axis and out of the plane, repeated about z."""
    stream = np.random.default_rng(fold)
    unit = stream.uniform((20.0, -8.0, -30.0), (50.0, 8.0, 30.0), (6, 3))
    centres = np.einsum("sij,bj->sbi", symmetry_matrices(f"C{fold}"), unit).reshape(-1, 3)
    return BlobModel(centres, np.full(len(centres), 6.0), np.tile(stream.uniform(0.5, 1.5, 6), fold))


@pytest.mark.parametrize("seed", [1, 2])
def test_an_octahedral_shell_is_turned_into_relions_setting(seed: int) -> None:
    model = octahedral_shell(1)
    volume = _turned(model, seed, (4.0, -6.0, 3.0))
    axes = find_axes(volume, "O", PIXEL, 15.0)
    assert axes.correlation > 0.7
    curve = fsc_curve(symmetrised_on_axes(volume, axes, "O").numpy(), model.volume(BOX, PIXEL))
    # shell 14 is 13.7 A: axes and centre are right to a fraction of a pixel, and the hand is kept
    assert curve[1:14].min() > 0.95


def test_a_threefold_axis_is_laid_along_z() -> None:
    volume = _turned(_ring(3), 5, (5.0, 2.0, -4.0))
    axes = find_axes(volume, "C3", PIXEL, 20.0)
    truth = Rotation.random(random_state=5).as_matrix()[:, 2]
    assert abs(float(axes.rotation[:, 2] @ truth)) > np.cos(np.radians(3.0))
    made = symmetrised_on_axes(volume, axes, "C3")
    again = symmetrised_on_axes(made, SymmetryAxes(np.eye(3), np.zeros(3), 1.0), "C3")
    assert fsc_curve(made.numpy(), again.numpy())[1:12].min() > 0.99


def test_a_particle_without_the_symmetry_says_so() -> None:
    volume = _turned(ribosome(1)[0], 3, (0.0, 0.0, 0.0))
    assert find_axes(volume, "O", PIXEL, 25.0).correlation < 0.4
