"""The common turn and hand of found poses: recovered where they are known, under point groups, among wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryorepro.em.errors import InputError
from cryorepro.em.movie_twin.specimen import Specimen, Views
from cryorepro.em.pose_frames import find_frame
from cryorepro.em.symmetry import symmetry_matrices

HALF_TURN = np.diag([-1.0, -1.0, 1.0])


def some_poses(
    count: int, symmetry: str, noise_degrees: float, mirrored: bool, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Found and true orientations, the operators, and the frame between them."""
    random = np.random.default_rng(seed)
    true = Rotation.random(count, random_state=seed).as_matrix()
    operators = symmetry_matrices(symmetry)
    frame = Rotation.random(random_state=seed + 1).as_matrix()
    noise = Rotation.from_rotvec(
        np.deg2rad(noise_degrees) * random.standard_normal((count, 3)) / np.sqrt(3)
    ).as_matrix()
    found = noise @ true @ operators[random.integers(0, len(operators), count)] @ frame
    return (HALF_TURN @ found if mirrored else found), true, operators, frame


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("symmetry", ["C1", "D7", "O"])
def test_the_frame_and_the_hand_are_found(symmetry: str, mirrored: bool) -> None:
    found, true, operators, frame = some_poses(120, symmetry, 3.0, mirrored, 11)
    got = find_frame(found, true, operators)
    assert got.mirrored == mirrored
    assert 1.5 < float(np.median(got.errors_degrees)) < 4.0
    # the frame up to an operator on the true map's side
    angles = [Rotation.from_matrix(got.rotation @ frame.T @ operator.T).magnitude() for operator in operators]
    assert np.degrees(min(angles)) < 1.0


def test_a_third_of_wrong_poses_does_not_disturb_it() -> None:
    found, true, operators, _ = some_poses(150, "C1", 1.0, False, 5)
    found[::3] = Rotation.random(50, random_state=9).as_matrix()
    got = find_frame(found, true, operators)
    right = np.ones(150, dtype=bool)
    right[::3] = False
    assert np.quantile(got.errors_degrees[right], 0.9) < 2.5
    assert np.median(got.errors_degrees[~right]) > 60


def test_random_poses_have_no_frame() -> None:
    _, true, operators, _ = some_poses(150, "C1", 0.0, False, 5)
    got = find_frame(Rotation.random(150, random_state=77).as_matrix(), true, operators)
    assert np.median(got.errors_degrees) > 60


def test_the_other_hand_turns_projections_by_half_a_turn() -> None:
    """The rule the search rests on, seen on images: those of the inverted map are the map's at the other pose."""
    box = 32
    random = np.random.default_rng(3)
    k = np.fft.fftfreq(box)
    smooth = np.exp(-120.0 * (k[:, None, None] ** 2 + k[None, :, None] ** 2 + np.fft.rfftfreq(box) ** 2))
    y = np.arange(box) - box // 2
    ball = (y[:, None, None] ** 2 + y[None, :, None] ** 2 + y**2) < 11**2
    volume = ball * np.fft.irfftn(
        np.fft.rfftn(random.standard_normal((box,) * 3)) * smooth, s=(box,) * 3, axes=(0, 1, 2)
    )
    inverted = np.roll(volume[::-1, ::-1, ::-1], (1, 1, 1), axis=(0, 1, 2))
    nothing, angles = np.empty((0, box, box, box)), np.array([[20.0, 50.0, -70.0]])
    images = [
        Views(Specimen(v, nothing, v, 2.0)).project(a, np.zeros(1, dtype=np.int64))[0]
        for v, a in ((inverted, angles), (volume, angles + (0.0, 0.0, 180.0)), (volume, angles))
    ]
    assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.9999
    assert abs(np.corrcoef(images[0].ravel(), images[2].ravel())[0, 1]) < 0.9


def test_too_few_particles_are_refused() -> None:
    with pytest.raises(InputError, match="2 found and 2 true"):
        find_frame(np.stack([np.eye(3)] * 2), np.stack([np.eye(3)] * 2), np.eye(3)[None])
