"""Metrics of movie stages against a twin's truth: perfect tables score perfectly, known faults by what they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_metrics.against_truth import DefocusError
from cryorepro_metrics.aligned_map import AlignedMapTruth
from cryorepro_metrics.matched_poses import MatchedPoseError
from cryorepro_metrics.micrograph_truth import AstigmatismAngleError
from cryorepro_metrics.motion_truth import ResidualMotion
from cryorepro_metrics.picks import PickPrecision, PickRecall
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.map_resampling import resample_map
from cryorepro.em.rotations import matrix_to_euler
from cryorepro.plugins.interfaces import MetricContext
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import Metric
from tests.movie_twins import SmallTwin, small_twin


def context(twin: SmallTwin, artifacts: Mapping[str, Path], **parameters: Any) -> MetricContext:
    return MetricContext(artifacts, twin.data, twin.truth, {}, {}, parameters)


def write_shifts(folder: Path, twin: SmallTwin, shifts: Mapping[str, np.ndarray]) -> Path:
    """A stage's list of micrographs with RELION's trajectories, the whole frame's shifts ``[frames, 2]`` alone."""
    (folder / "micrographs").mkdir(parents=True)
    for stem, rows in shifts.items():
        general: dict[str, list[Any]] = {"rlnImageSizeX": [512], "rlnImageSizeY": [512], "rlnImageSizeZ": [len(rows)]}
        columns = {"rlnMicrographFrameNumber": list(range(1, len(rows) + 1))}
        columns |= {f"rlnMicrographShift{axis}": rows[:, place].tolist() for place, axis in enumerate("XY")}
        blocks = [make_block("general", general, is_loop=False), make_block("global_shift", columns)]
        write_star(folder / "micrographs" / f"{stem}.star", blocks)
    listed = {
        "rlnMicrographName": [f"micrographs/{stem}.mrc" for stem in shifts],
        "rlnMicrographMetadata": [f"micrographs/{stem}.star" for stem in shifts],
    }
    write_star(folder / "corrected_micrographs.star", [make_block("micrographs", listed)])
    return folder / "corrected_micrographs.star"


@pytest.fixture(scope="module")
def stiff(tmp_path_factory: pytest.TempPathFactory) -> SmallTwin:
    """A twin without local motion."""
    return small_twin(
        tmp_path_factory.mktemp("stiff"), local_motion_angstrom=0, belts=0, particles_per_movie=10, odd_movies=0
    )


def test_shifts_that_undo_the_motion_leave_nothing(stiff: SmallTwin, tmp_path: Path) -> None:
    undone = {stem: 5.0 - stiff.motion(stem).drift_px for stem in stiff.stems}
    found = ResidualMotion().measure(context(stiff, {"micrographs": write_shifts(tmp_path, stiff, undone)}))
    assert found.value < 1e-3 and found.unit == "px"
    expected = np.concatenate([d - d.mean(axis=0) for d in (stiff.motion(stem).drift_px for stem in stiff.stems)])
    assert found.details["before_px"] == pytest.approx(np.sqrt(np.square(expected).sum(axis=1).mean()), abs=1e-3)


def test_what_is_left_is_measured_in_pixels(stiff: SmallTwin, tmp_path: Path) -> None:
    """Shifts off by 0.3 px along x and 0.4 px along y, to and fro: 0.5 px are left."""
    swing = np.where(np.arange(10) % 2 == 0, 1.0, -1.0)[:, None] * (0.3, 0.4)
    wrong = {stem: swing - stiff.motion(stem).drift_px for stem in stiff.stems}
    found = ResidualMotion().measure(context(stiff, {"micrographs": write_shifts(tmp_path, stiff, wrong)}))
    assert found.value == pytest.approx(0.5, abs=1e-3)
    reversed_sign = {stem: stiff.motion(stem).drift_px for stem in stiff.stems}
    worse = ResidualMotion().measure(
        context(stiff, {"micrographs": write_shifts(tmp_path / "b", stiff, reversed_sign)})
    )
    assert worse.value == pytest.approx(2 * worse.details["before_px"], rel=1e-3)


def test_relion_undoes_the_motion_and_its_sign_is_the_metrics(movie_twin: SmallTwin, tmp_path: Path) -> None:
    """relion_run_motioncorr on the twin's TIFF movies with the gain turned as the deposit's must be."""
    folder = movie_twin.data.files["movies"].parent
    work = tmp_path / "project"
    shutil.copytree(folder, work)
    lines = (work / "movies.star").read_text().splitlines(keepends=True)
    (work / "movies.star").write_text("".join(line for line in lines if "Feb" not in line))
    command = [
        "relion_run_motioncorr", "--use_own", "--i", "movies.star", "--o", "mc/", "--j", "1", "--patch_x", "3",
        "--patch_y", "3", "--bfactor", "150", "--voltage", "300", "--dose_per_frame", "5.8", "--gain_flip", "1",
        "--gainref", movie_twin.data.files["gain"].name, "--defect_file", "defects.txt",
    ]  # fmt: skip
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    found = ResidualMotion().measure(context(movie_twin, {"micrographs": work / "mc" / "corrected_micrographs.star"}))
    # 58 e/A^2 over 512 x 512 pixels and 22 particles are few: a third of a pixel is what RELION leaves
    assert found.details["movies"] == 3 and found.details["before_px"] > 1.5
    assert found.value < 0.4


def micrograph_table(path: Path, twin: SmallTwin, raised: np.ndarray, turned: float) -> Path:
    truth = twin.table("defocus")
    columns = {
        "rlnMicrographName": truth.text("rlnMicrographName"),
        "rlnDefocusU": (truth.numbers("rlnDefocusU") + raised).tolist(),
        "rlnDefocusV": (truth.numbers("rlnDefocusV") + raised).tolist(),
        "rlnDefocusAngle": ((truth.numbers("rlnDefocusAngle") + turned) % 180.0).tolist(),
    }
    write_star(path, [make_block("micrographs", columns)])
    return path


def test_defocus_and_the_direction_of_astigmatism(tmp_path: Path) -> None:
    twin = small_twin(
        tmp_path / "twin", rows_px=256, columns_px=256, frames=2, movies=5, odd_movies=0, belts=0,
        particles_per_movie=4, astigmatic_share=0.6,
    )  # fmt: skip
    raised = np.array([10.0, -80.0, 120.0, -40.0, 300.0])
    table = micrograph_table(tmp_path / "found.star", twin, raised, 175.0)
    found = DefocusError().measure(context(twin, {"micrographs": table}))
    assert found.value == pytest.approx(80.0) and found.unit == "angstrom"
    assert found.details["worst_angstrom"] == pytest.approx(300.0)
    angle = AstigmatismAngleError().measure(context(twin, {"micrographs": table}))
    assert angle.value == pytest.approx(5.0) and angle.details["micrographs"] == 3
    with pytest.raises(InputError, match="astigmatism above 5000 A"):
        AstigmatismAngleError().measure(context(twin, {"micrographs": table}, above_angstrom=5000))


def write_coordinates(folder: Path, places: Mapping[str, np.ndarray]) -> Path:
    """RELION 4's list of picks and the file of each micrograph."""
    folder.mkdir(parents=True)
    for stem, points in places.items():
        block = make_block("", {f"rlnCoordinate{axis}": points[:, place] for place, axis in enumerate("XY")})
        write_star(folder / f"{stem}_autopick.star", [block])
    columns = {
        "rlnMicrographName": [f"micrographs/{stem}.mrc" for stem in places],
        "rlnMicrographCoordinates": [f"{stem}_autopick.star" for stem in places],
    }
    write_star(folder / "autopick.star", [make_block("coordinate_files", columns)])
    return folder / "autopick.star"


def test_picks_are_counted_but_at_the_edges(movie_twin: SmallTwin, tmp_path: Path) -> None:
    places, edge = {}, 140.0 / 1.72 / 2
    inner = missed = 0
    for stem in movie_twin.stems:
        true = movie_twin.positions(stem)
        inside = ((true >= edge) & (true <= 512 - edge)).all(axis=1)
        inner += int(inside.sum())
        kept = true[inside][2:]  # two of each are missed; at the edges none is picked
        missed += 2
        wrong = np.array([[1.0, 1.0], [250.0, -40.0]])  # nobody asks about these
        places[stem] = np.concatenate([kept + (3.0, -2.0), wrong])
    star = write_coordinates(tmp_path / "a", places)
    recall = PickRecall().measure(context(movie_twin, {"coordinates": star}))
    assert recall.value == pytest.approx((inner - missed) / inner, abs=1e-4)
    assert recall.details["precision"] == 1.0
    assert recall.details["median_distance_px"] == pytest.approx(np.hypot(3, 2), abs=1e-3)
    # every particle picked a second time, a diameter off: half of the picks are wrong where there is no other particle
    twice = {stem: np.concatenate([points[:-2], points[:-2]]) for stem, points in places.items()}
    precision = PickPrecision().measure(context(movie_twin, {"coordinates": write_coordinates(tmp_path / "b", twice)}))
    assert precision.value == pytest.approx(0.5, abs=1e-4)
    alone = {movie_twin.stems[0]: movie_twin.positions(movie_twin.stems[0])}
    only = PickRecall().measure(context(movie_twin, {"coordinates": write_coordinates(tmp_path / "c", alone)}))
    assert only.value == 1.0 and only.details["micrographs"] == 1  # micrographs that were not picked are not missed


@pytest.mark.parametrize("mirrored", [False, True])
def test_poses_are_matched_by_place_in_any_frame_and_either_hand(
    movie_twin: SmallTwin, tmp_path: Path, mirrored: bool
) -> None:
    import torch

    from cryorepro.em.rotations import euler_to_matrix

    random = np.random.default_rng(8)
    truth = movie_twin.table("particles")
    angles = np.stack([truth.numbers(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")], axis=1)
    true = euler_to_matrix(torch.from_numpy(angles)).numpy()
    turn = Rotation.random(random_state=4).as_matrix()
    wobble = Rotation.from_rotvec(np.deg2rad(4.0) * random.standard_normal((len(true), 3)) / np.sqrt(3)).as_matrix()
    found = wobble @ true @ turn
    inner_shift = np.array([6.0, -4.0, 9.0])  # where the found map has its origin
    centres = np.stack([truth.numbers(f"rlnCoordinate{axis}") for axis in "XY"], axis=1) * 1.72
    centres = centres + found[:, :2] @ inner_shift + (7.0, -5.0) + random.normal(0.0, 0.5, centres.shape)
    if mirrored:
        found = np.diag([-1.0, -1.0, 1.0]) @ found
    picked = np.rint(centres / 1.72 + random.normal(0.0, 2.0, centres.shape))
    origins = picked * 1.72 - centres
    written = matrix_to_euler(torch.from_numpy(found)).numpy()
    order = random.permutation(len(true))[:-6]
    columns: dict[str, Any] = {
        "rlnImageName": [f"{n + 1:06d}@particles.mrcs" for n in range(len(order))],
        "rlnMicrographName": [f"elsewhere/{Path(truth.text('rlnMicrographName')[row]).name}" for row in order],
        "rlnOpticsGroup": [1] * len(order),
        "rlnDefocusU": truth.numbers("rlnDefocusU")[order] + 60.0,
        "rlnDefocusV": truth.numbers("rlnDefocusV")[order] + 60.0,
        "rlnDefocusAngle": truth.numbers("rlnDefocusAngle")[order],
    }
    for place, name in enumerate(("Rot", "Tilt", "Psi")):
        columns[f"rlnAngle{name}"] = written[order, place]
    for place, axis in enumerate("XY"):
        columns[f"rlnCoordinate{axis}"] = picked[order, place]
        columns[f"rlnOrigin{axis}Angst"] = origins[order, place]
    optics: dict[str, list[Any]] = {
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["g"], "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1], "rlnImagePixelSize": [3.44], "rlnImageSize": [64], "rlnImageDimensionality": [2],
    }  # fmt: skip
    star = tmp_path / "particles.star"
    write_star(star, [make_block("optics", optics), make_block("particles", columns)])
    value = MatchedPoseError().measure(context(movie_twin, {"particles": star}))
    assert value.details["matched"] == len(order) and value.details["other_hand"] == mirrored
    assert 2.5 < value.value < 5.0
    # 0.5 A of noise along each axis has a median length of 0.59 A
    assert value.details["median_shift_error_angstrom"] == pytest.approx(0.59, abs=0.2)
    assert DefocusError().measure(context(movie_twin, {"particles": star})).value == pytest.approx(60.0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_map_on_another_grid_agrees_with_the_truth_in_either_hand(
    movie_twin: SmallTwin, tmp_path: Path, mirrored: bool
) -> None:
    true, pixel = read_map(movie_twin.truth["map"])
    turn = Rotation.random(random_state=6).as_matrix()[::-1, ::-1]
    origin = np.full(3, 48.0)
    moved = ndimage.affine_transform(true.astype(float), turn.T, origin - turn.T @ (origin + (2.0, -1.0, 1.5)), order=3)
    moved = np.roll(moved[::-1], 1, axis=0) if mirrored else moved
    found = resample_map(moved, pixel, 48, pixel * 2)
    noise = np.random.default_rng(2).standard_normal(found.shape) * 0.02 * found.std()
    write_map(tmp_path / "map.mrc", found + noise, pixel * 2)
    value = AlignedMapTruth().measure(context(movie_twin, {"map": tmp_path / "map.mrc"}))
    assert value.details["other_hand"] == mirrored
    assert value.value >= 20  # of 24 shells of 165 A


def test_all_are_registered_and_need_the_truth() -> None:
    named = {entry.name: entry.descriptor for entry in load_catalogue().all(Metric)}
    wanted = {
        "residual_motion", "defocus_error", "astigmatism_angle_error", "pick_recall", "pick_precision",
        "matched_pose_error", "aligned_map_truth",
    }  # fmt: skip
    assert all(named[name].needs_truth for name in wanted)
