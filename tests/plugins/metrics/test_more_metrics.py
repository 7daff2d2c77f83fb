"""Metrics of directions, masks, series and truth: each gives what its closed form or its numerics say, with unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_metrics.against_truth import AdjustedRand, DefocusError, MotionError, PickF1, ShiftError
from cryorepro_metrics.directions import ConicalFscRatio, OrientationSampling
from cryorepro_metrics.half_maps import PostprocessResolution
from cryorepro_metrics.local import LocalResolutionQuantile
from cryorepro_metrics.masked import MaskedHalfMapFsc

from cryorepro.em.directional_fsc import directional_fsc
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.postprocess import postprocess
from cryorepro.em.postprocess_files import write_postprocess_star
from cryorepro.em.sharpening import Sharpening
from cryorepro.model.dataset import PreparedData
from cryorepro.plugins.interfaces import MetricContext
from tests.em.halves import BOX, PIXEL, half_maps


def context(artifacts: dict[str, Path], **more: Any) -> MetricContext:
    data = PreparedData(
        files=more.get("files", {}), box_px=BOX, pixel_size_angstrom=PIXEL, voltage_kv=300, origin="a test",
        parameters={"particle_diameter_angstrom": 60.0},
    )  # fmt: skip
    return MetricContext(
        artifacts=artifacts, data=data, truth=more.get("truth", {}), stage_parameters=more.get("stage", {}),
        numbers={}, parameters=more.get("parameters", {}),
    )  # fmt: skip


def halves(directory: Path, noise: float = 0.2) -> dict[str, Path]:
    paths = {"half1": directory / "half1.mrc", "half2": directory / "half2.mrc"}
    for path, volume in zip(paths.values(), half_maps(noise=noise), strict=True):
        write_map(path, volume, PIXEL)
    return paths


def particles(path: Path, **columns: Any) -> Path:
    count = len(next(iter(columns.values())))
    optics = OpticsGroup(
        group=1, name="g", voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1,
        pixel_size_angstrom=PIXEL, box_px=BOX,
    )  # fmt: skip
    names = np.array([f"{i + 1:06d}@particles.mrcs" for i in range(count)], dtype=object)
    groups = np.ones(count, dtype=np.int64)
    write_particles(path, Particles((optics,), {"rlnImageName": names, "rlnOpticsGroup": groups, **columns}, "test"))
    return path


def test_cones_give_a_ratio_and_the_worst_direction(tmp_path: Path) -> None:
    value = ConicalFscRatio().measure(context(halves(tmp_path), parameters={"directions": 30}))
    expected = directional_fsc(*half_maps(noise=0.2), count=30)
    assert value.value == pytest.approx(expected.area_ratio, abs=1e-5) and value.unit == "ratio"
    assert value.details["shells_lowest_median_highest"][0] == expected.shells.min()
    assert np.linalg.norm(value.details["worst_direction_xyz"]) == pytest.approx(1.0, abs=1e-3)


def test_even_views_fill_space_and_one_view_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    many = {
        "rlnAngleRot": rng.uniform(-180, 180, 3000),
        "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, 3000))),
    }
    even = OrientationSampling().measure(context({"particles": particles(tmp_path / "even.star", **many)}))
    assert even.value > 0.97 and even.unit == "fraction"
    one = {"rlnAngleRot": np.zeros(50), "rlnAngleTilt": np.full(50, 30.0)}
    lone = OrientationSampling().measure(context({"particles": particles(tmp_path / "one.star", **one)}))
    assert lone.value == 0.0 and lone.details["unsampled_fraction"] > 0.9


def test_the_datasets_mask_is_laid_over_and_corrected_for(tmp_path: Path) -> None:
    mask = tmp_path / "mask.mrc"
    write_map(mask, spherical_mask(BOX, 15.0, 5.0), PIXEL)
    value = MaskedHalfMapFsc().measure(context(halves(tmp_path, 0.4), files={"mask": mask}))
    shells = value.details["shells"]
    assert value.shell == shells["corrected"]["0.143"] and value.unit == "shells"
    assert set(shells) == {"unmasked", "masked", "randomised", "corrected"}
    assert shells["corrected"]["0.5"] <= shells["corrected"]["0.143"]
    with pytest.raises(InputError, match="no mask"):
        MaskedHalfMapFsc().measure(context(halves(tmp_path, 0.4)))


def test_post_processing_under_another_mask_is_refused(tmp_path: Path) -> None:
    declared, shrunk = spherical_mask(BOX, 17.0, 5.0), spherical_mask(BOX, 14.0, 5.0)
    write_map(tmp_path / "mask.mrc", declared, PIXEL)
    for name, mask in (("right", declared), ("wrong", shrunk)):
        star = tmp_path / f"{name}.star"
        write_postprocess_star(
            star,
            postprocess(*half_maps(), mask, PIXEL, np.random.default_rng(1), Sharpening(bfactor_angstrom2=0.0)),
            "a",
            "b",
            "m",
        )
    options: dict[str, Any] = {"files": {"mask": tmp_path / "mask.mrc"}, "parameters": {"mask_role": "mask"}}
    assert PostprocessResolution().measure(context({"star": tmp_path / "right.star"}, **options)).shell
    smaller = (shrunk > 0.5).sum() / (declared > 0.5).sum()
    with pytest.raises(InputError, match=f"changed mask: .* {smaller:.2f} times the volume"):
        PostprocessResolution().measure(context({"star": tmp_path / "wrong.star"}, **options))


def test_local_resolution_is_a_quantile_inside_the_mask(tmp_path: Path) -> None:
    values = np.zeros((BOX, BOX, BOX), dtype=np.float32)
    values[10:20] = 12.0
    values[20:40] = 9.0
    mask = np.zeros_like(values)
    mask[10:40] = 1.0
    for name, volume in (("locres", values), ("mask", mask)):
        write_map(tmp_path / f"{name}.mrc", volume, PIXEL)
    artifacts = {"local_resolution": tmp_path / "locres.mrc"}
    value = LocalResolutionQuantile().measure(context(artifacts, files={"mask": tmp_path / "mask.mrc"}))
    assert value.value == pytest.approx(BOX * PIXEL / 9.0) and (value.unit, value.shell) == ("shells", 16)
    assert value.details["quantiles_angstrom"]["0.95"] == 12.0
    coarse = context(artifacts, files={"mask": tmp_path / "mask.mrc"}, parameters={"quantile": 0.9})
    assert LocalResolutionQuantile().measure(coarse).value == pytest.approx(BOX * PIXEL / 12.0)


def test_shift_defocus_and_classes_against_the_truth(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    count = 200
    true: dict[str, Any] = {
        "rlnAngleRot": rng.uniform(-180, 180, count),
        "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, count))),
        "rlnAnglePsi": rng.uniform(-180, 180, count),
        "rlnOriginXAngst": rng.normal(0, 4, count),
        "rlnOriginYAngst": rng.normal(0, 4, count),
        "rlnDefocusU": np.full(count, 15_000.0),
        "rlnDefocusV": np.full(count, 14_000.0),
        "rlnDefocusAngle": np.zeros(count),
        "rlnClassNumber": rng.integers(1, 4, count),
    }
    found = dict(true)
    found["rlnOriginXAngst"] = true["rlnOriginXAngst"] + rng.normal(0, 2.0, count)
    found["rlnOriginYAngst"] = true["rlnOriginYAngst"] + rng.normal(0, 2.0, count)
    found["rlnDefocusU"] = true["rlnDefocusU"] + 120.0
    found["rlnClassNumber"] = 4 - true["rlnClassNumber"]
    where = {"particles": particles(tmp_path / "found.star", **found)}
    given = context(where, truth={"particles": particles(tmp_path / "true.star", **true)})
    shift = ShiftError().measure(given)
    # The distance of two normal errors of 2 A is Rayleigh-distributed: its median is 1.177 sigma.
    assert shift.value == pytest.approx(2.0 * 1.177, abs=0.3) and shift.unit == "angstrom"
    assert (DefocusError().measure(given).value, DefocusError().measure(given).details) == (
        60.0, {"median_signed_angstrom": 60.0},
    )  # fmt: skip
    assert AdjustedRand().measure(given).value == 1.0


def test_picks_and_motion_against_the_truth(tmp_path: Path) -> None:
    def picks(name: str, rows: list[tuple[str, float, float]]) -> Path:
        micrographs, x, y = zip(*rows, strict=True)
        block = make_block("particles", {"rlnMicrographName": micrographs, "rlnCoordinateX": x, "rlnCoordinateY": y})
        write_star(tmp_path / name, [block])
        return tmp_path / name

    found = picks("found.star", [("m/a.mrc", 10.0, 10.0), ("m/a.mrc", 99.0, 99.0), ("m/b.mrc", 50.0, 50.0)])
    true = picks(
        "true.star", [("a.mrc", 12.0, 10.0), ("b.mrc", 50.0, 51.0), ("b.mrc", 10.0, 51.0), ("c.mrc", 1.0, 1.0)]
    )
    value = PickF1().measure(context({"coordinates": found}, truth={"coordinates": true}))
    assert value.details["within_px"] == 60.0 / 2 / PIXEL
    assert (value.details["precision"], value.details["recall"]) == (2 / 3, 2 / 4)
    assert value.value == pytest.approx(4 / 7) and value.details["median_distance_px"] == 1.5

    def motion(name: str, track: np.ndarray) -> Path:
        columns = {"rlnMicrographFrameNumber": range(1, len(track) + 1), "rlnMicrographShiftX": track[:, 0].tolist()}
        write_star(
            tmp_path / name, [make_block("global_shift", {**columns, "rlnMicrographShiftY": track[:, 1].tolist()})]
        )
        return tmp_path / name

    track = np.cumsum(np.random.default_rng(2).normal(size=(12, 2)), axis=0)
    swing = np.tile([[1.0, 0.0], [-1.0, 0.0]], (6, 1))
    paths = [{"motion": motion(f"{name}.star", values)} for name, values in (("f", track + swing + 5.0), ("t", track))]
    value = MotionError().measure(context(paths[0], truth=paths[1]))
    assert value.value == pytest.approx(PIXEL) and value.unit == "angstrom"
