"""Half-map and map-model metrics: shells, not Angstrom; the right model passes, the wrong hand and noise do
not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from cryorepro_metrics.half_maps import HalfMapFsc, PostprocessResolution
from cryorepro_metrics.map_model import PICTURE, MapModelFsc
from scipy.spatial.transform import Rotation

from cryorepro.em.align import transform_map
from cryorepro.em.atomic import model_density, read_model
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.model_symmetry import orient_to_symmetry
from cryorepro.em.postprocess import postprocess
from cryorepro.em.postprocess_files import write_postprocess_star
from cryorepro.em.sharpening import Sharpening
from cryorepro.model.dataset import PreparedData
from cryorepro.plugins.interfaces import MetricContext
from tests.em.halves import BOX, PIXEL, half_maps
from tests.em.real_data import real_data


def _context(directory: Path, artifacts: dict[str, np.ndarray | Path], **more: Any) -> MetricContext:
    paths = {}
    for role, content in artifacts.items():
        paths[role] = content if isinstance(content, Path) else directory / f"{role}.mrc"
        if isinstance(content, np.ndarray):
            write_map(paths[role], content, more.get("pixel", PIXEL))
    data = PreparedData(
        files={"model": more["model"]} if "model" in more else {}, box_px=more.get("box", BOX),
        pixel_size_angstrom=more.get("pixel", PIXEL), voltage_kv=300.0, origin="a test",
    )  # fmt: skip
    return MetricContext(
        artifacts=paths, data=data, truth={}, stage_parameters=more.get("stage", {}), numbers={},
        parameters=more.get("parameters", {}), output_dir=directory,
    )  # fmt: skip


def test_half_maps_give_the_shell_of_their_curve(tmp_path: Path) -> None:
    first, second = half_maps()
    value = HalfMapFsc().measure(_context(tmp_path, {"half1": first, "half2": second}))
    expected = crossing(fsc_curve(first, second), 0.143)
    assert (value.value, value.unit, value.shell) == (expected.shell, "shells", expected.shell)
    assert (value.box_px, value.pixel_size_angstrom) == (BOX, PIXEL)
    stricter = _context(tmp_path, {"half1": first, "half2": second}, parameters={"threshold": 0.8})
    assert HalfMapFsc().measure(stricter).value < value.value
    with pytest.raises(InputError, match="half2"):
        HalfMapFsc().measure(_context(tmp_path, {"half1": first}))


def test_post_processing_is_believed_only_with_its_curve(tmp_path: Path) -> None:
    mask = spherical_mask(BOX, 15.0, 5.0)
    result = postprocess(*half_maps(), mask, PIXEL, np.random.default_rng(1), Sharpening(0.0))
    star = tmp_path / "postprocess.star"
    write_postprocess_star(star, result, "a.mrc", "b.mrc", "m.mrc")
    value = PostprocessResolution().measure(_context(tmp_path, {"star": star}))
    assert value.shell == result.resolution_shell
    resolution = gemmi.cif.read(str(star)).find_block("general").find_value("_rlnFinalResolution")
    star.write_text(star.read_text().replace(str(resolution), "6.1"))
    with pytest.raises(InputError, match="not where its curve"):
        PostprocessResolution().measure(_context(tmp_path, {"star": star}))


@pytest.fixture(scope="module")
def density() -> np.ndarray:
    model = orient_to_symmetry(read_model(real_data("models", "4v1w.cif")), "O")
    return model_density(model, 48, 4.0, bfactor_angstrom2=200.0)


def _measure(directory: Path, volume: np.ndarray, **more: Any) -> Any:
    options: dict[str, Any] = {"pixel": 4.0, "box": 48, "stage": {"symmetry": "O"}} | more
    model = real_data("models", "4v1w.cif")
    return MapModelFsc().measure(_context(directory, {"map": volume}, model=model, **options))


def test_the_models_own_density_agrees_to_the_end_and_its_mirror_does_not(tmp_path: Path, density: np.ndarray) -> None:
    value = _measure(tmp_path, density)
    assert value.shell is not None and value.shell >= 23
    assert value.details["shell_of_other_hand"] < 12
    assert (tmp_path / PICTURE).stat().st_size > 5_000 and value.details["picture"] == PICTURE
    mirrored = _measure(tmp_path, np.ascontiguousarray(density[::-1]))
    assert mirrored.shell is not None and mirrored.shell < 12


def test_a_featureless_shell_is_not_taken_for_the_protein(tmp_path: Path, density: np.ndarray) -> None:
    """The trap of a round particle: its spherical average agrees at low resolution and nowhere else."""
    axis = np.arange(48) - 24
    radius = np.rint(np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)).astype(int)
    profile = np.bincount(radius.ravel(), density.ravel()) / np.bincount(radius.ravel())
    value = _measure(tmp_path, profile[radius])
    assert 192.0 / value.value > 18.0


def test_without_cubic_symmetry_the_model_is_searched_for(tmp_path: Path, density: np.ndarray) -> None:
    turn = np.asarray(Rotation.from_euler("zyz", [10, 20, 30], degrees=True).as_matrix())
    turned = transform_map(density, turn, np.array([1.0, 0.0, -0.5]))
    value = _measure(tmp_path, turned, stage={})
    assert value.shell is not None and value.shell >= 12
    assert _measure(tmp_path, turned).shell < value.shell
