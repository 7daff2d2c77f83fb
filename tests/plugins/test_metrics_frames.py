"""Class frames: a class that turned and shifted as a whole is not wrong, and a mirror image is no frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryorepro_metrics.class_maps import MapTruthFsc
from cryorepro_metrics.classes import ClassAccuracy
from cryorepro_metrics.poses import PoseError
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryorepro.em.blobs import euler_matrices
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.phantom import ribosome
from cryorepro.model.dataset import PreparedData
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext

BOX, PIXEL = 48, 10.0
TURN = Rotation.from_rotvec([0.5, -0.3, 0.4]).as_matrix()  # 40.5 degrees
MOVE = np.array([12.0, -7.0, 20.0])


def euler(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """RELION's (rot, tilt, psi): its A is the transpose of scipy's intrinsic ZYZ rotation."""
    angles: NDArray[np.float64] = Rotation.from_matrix(np.swapaxes(matrices, 1, 2)).as_euler("ZYZ", degrees=True)
    return angles


def table(path: Path, angles: NDArray[np.float64], origins: NDArray[np.float64], classes: NDArray[np.int64]) -> Path:
    optics = OpticsGroup(
        group=1, name="g", voltage_kv=300, spherical_aberration_mm=2.0, amplitude_contrast=0.1,
        pixel_size_angstrom=PIXEL, box_px=BOX,
    )  # fmt: skip
    names = np.array([f"{i + 1:06d}@particles.mrcs" for i in range(len(classes))], dtype=object)
    columns = {
        "rlnImageName": names,
        "rlnAngleRot": angles[:, 0],
        "rlnAngleTilt": angles[:, 1],
        "rlnAnglePsi": angles[:, 2],
        "rlnOriginXAngst": origins[:, 0],
        "rlnOriginYAngst": origins[:, 1],
        "rlnClassNumber": classes,
        "rlnOpticsGroup": np.ones(len(classes), dtype=np.int64),
    }
    write_particles(path, Particles((optics,), columns, "test"))
    return path


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> MetricContext:
    """Two classes, found under swapped numbers; the second as a body turned by TURN and moved by MOVE."""
    where = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(7)
    true_angles = np.column_stack([rng.uniform(-180, 180, 300), rng.uniform(5, 175, 300), rng.uniform(-180, 180, 300)])
    true = euler_matrices(true_angles)
    classes = rng.integers(1, 3, 300)
    origins = rng.normal(0, 8, (300, 2))
    second = classes == 2
    found, found_origins = true.copy(), origins.copy()
    found[second] = true[second] @ TURN
    # A_true u = c_found - c_true in the image plane, and an origin is minus a centre
    found_origins[second] = origins[second] - (true[second] @ MOVE)[:, :2]
    jitter = Rotation.from_rotvec(np.radians(rng.normal(0, 2.0, (300, 3)))).as_matrix()
    found = jitter @ found
    table(where / "true.star", euler(true), origins, classes)
    table(where / "found.star", euler(found), found_origins, 3 - classes)
    model = ribosome(1)
    for k, conformer in enumerate(model[:2], start=1):
        volume = conformer.volume(BOX, PIXEL)
        write_map(where / f"true{k}.mrc", volume, PIXEL)
    # V_found(v) = V_true(G v + u): the body's points go from p to G^T (p - u), exactly, before the map is made.
    moved = replace(model[1], centres_angstrom=(model[1].centres_angstrom - MOVE) @ TURN)
    write_map(where / "found1.mrc", moved.volume(BOX, PIXEL), PIXEL)
    write_map(where / "found2.mrc", model[0].volume(BOX, PIXEL), PIXEL)
    data = PreparedData(files={}, box_px=BOX, pixel_size_angstrom=PIXEL, voltage_kv=300, origin="test")
    artifacts = {"particles": where / "found.star", "class001": where / "found1.mrc", "class002": where / "found2.mrc"}
    truth = {"particles": where / "true.star", "class001": where / "true1.mrc", "class002": where / "true2.mrc"}
    return MetricContext(artifacts, data, truth, {"symmetry": "C1"}, {})


def test_a_turned_class_has_small_pose_errors_and_its_turn_is_told(turned: MetricContext) -> None:
    value: MetricValue = PoseError().measure(turned)
    # |jitter| is chi-distributed with three degrees of freedom: its median is 1.538 sigma
    assert value.value == pytest.approx(2.0 * 1.538, abs=0.3)
    frames = value.details["frame_rotation_degrees"]
    assert frames["class001"] == pytest.approx(np.degrees(np.linalg.norm([0.5, -0.3, 0.4])), abs=0.5)
    assert frames["class002"] < 0.5
    assert value.details["median_shift_error_angstrom"] < 1.0


def test_a_turned_class_map_is_held_against_the_turned_truth(turned: MetricContext) -> None:
    value = MapTruthFsc().measure(turned)
    assert set(value.details["shells"]) == {"class001", "class002"}
    assert value.details["shells"]["class002"] == BOX // 2
    assert value.details["shells"]["class001"] >= BOX // 2 - 4  # moving the truth by splines costs the last shells


def test_classes_are_matched_whatever_their_numbers(turned: MetricContext) -> None:
    value = ClassAccuracy().measure(turned)
    assert value.value == 1.0
    assert value.details["true_of_found"] == {"1": 2, "2": 1}


def test_a_mirrored_map_is_not_excused(turned: MetricContext, tmp_path: Path) -> None:
    from cryorepro.em.formats.maps import read_map

    volume, _ = read_map(turned.artifacts["class002"])
    # the mirror image through a plane that keeps voxel n // 2 where it is
    mirrored = np.roll(volume[:, :, ::-1], 1, axis=2)
    write_map(tmp_path / "mirror.mrc", mirrored, PIXEL)
    artifacts = {**turned.artifacts, "class002": tmp_path / "mirror.mrc"}
    context = MetricContext(artifacts, turned.data, turned.truth, turned.stage_parameters, {})
    shells = MapTruthFsc().measure(context).details["shells"]
    assert shells["class002"] < shells["class001"] // 2
