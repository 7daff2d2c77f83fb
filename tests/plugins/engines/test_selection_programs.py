"""The classselection and reextraction programs as the runner starts them, on particles whose place is known."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.reextraction import fourier_crop
from cryorepro.model.base import Record
from cryorepro.model.class2d_stages import ClassSelectionParameters, ReextractionParameters
from cryorepro.model.stage import StageFailure, StageRequest, StageResult

BOX, PIXEL, SIDE = 32, 2.0, 256
MODELS: dict[str, type[Record]] = {"classselection": ClassSelectionParameters, "reextraction": ReextractionParameters}
RUNNER = RelionLikeRunner()
# where each particle stands, where it was picked (micrograph pixels), and its class
TRUE = np.array([[60.3, 70.0], [150.0, 90.6], [100.0, 180.0], [102.0, 181.0]])
PICKED = TRUE + np.array([[3.0, -2.0], [-4.0, 1.0], [0.0, 0.0], [1.0, 2.0]])
CLASSES = [1, 2, 1, 1]


@pytest.fixture
def star(tmp_path: Path) -> Path:
    """A micrograph with a spot at every true place, and the images picked beside them with the right origins."""
    folder = tmp_path / "set"
    folder.mkdir()
    y, x = np.indices((SIDE, SIDE))
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.5**2)) for px, py in TRUE[:3])
    noise = np.random.default_rng(1).normal(0.0, 0.01, (SIDE, SIDE))
    micrograph = (np.asarray(spots) + noise).astype(np.float32)
    with mrcfile.new(folder / "mic.mrc") as file:
        file.set_data(micrograph)
        file.voxel_size = PIXEL
    write_star(folder / "micrographs.star", [make_block("micrographs", {"rlnMicrographName": ["mic.mrc"]})])
    half = BOX // 2
    corners = np.rint(PICKED).astype(int) - half
    images = np.stack([micrograph[cy : cy + BOX, cx : cx + BOX] for cx, cy in corners])
    write_stack(folder / "particles.mrcs", images, PIXEL)
    origins = (np.rint(PICKED) - TRUE) * PIXEL
    columns = {
        "rlnImageName": np.array([f"{i + 1:06d}@particles.mrcs" for i in range(4)], dtype=object),
        "rlnMicrographName": np.array(["mic.mrc"] * 4, dtype=object),
        "rlnOpticsGroup": np.ones(4, dtype=np.int64), "rlnClassNumber": np.array(CLASSES),
        "rlnCoordinateX": np.rint(PICKED[:, 0]), "rlnCoordinateY": np.rint(PICKED[:, 1]),
        "rlnOriginXAngst": origins[:, 0], "rlnOriginYAngst": origins[:, 1],
    }  # fmt: skip
    optics = OpticsGroup(1, "og1", 300.0, 2.7, 0.1, PIXEL, BOX)
    write_particles(folder / "particles.star", Particles((optics,), columns))
    return folder / "particles.star"


def _request(kind: str, output: Path, inputs: dict[str, Path], **parameters: Any) -> StageRequest:
    chosen = MODELS[kind].model_validate(parameters).model_dump()
    output.mkdir(exist_ok=True)
    return StageRequest(stage=kind, kind=kind, parameters=chosen, inputs=inputs, output_dir=output, seed=1)


def _run(asked: StageRequest) -> StageResult:
    """Plan, run and collect.

    Raises:
        InputError: the program ended with exit code 2, with what it said.
    """
    command = RUNNER.plan(asked)
    done = subprocess.run(command.argv, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 2:
        raise InputError(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return RUNNER.collect(asked, asked.output_dir / "log")


def test_a_selection_is_written_and_replayed_exactly(star: Path, tmp_path: Path) -> None:
    first = _request("classselection", tmp_path / "one", {"particles": star}, largest_classes=1)
    result = _run(first)
    assert result.rows == {"particles": 3} and result.numbers["selected_classes"] == 1.0
    table = tmp_path / "one" / "particles.star"
    assert read_particles(table, require_ctf=False).column("rlnClassNumber").tolist() == [1, 1, 1]
    # the stack is linked beside the table, so that the next stage finds it
    assert len(ParticleStack.open(read_particles(table, require_ctf=False)).read()) == 3
    again = {"particles": star, "selection": tmp_path / "one" / "selection.star"}
    _run(_request("classselection", tmp_path / "two", again, published_as_interactive=True, keep="by-hand"))
    assert (tmp_path / "two" / "particles.star").read_bytes() == table.read_bytes()


def test_classes_like_the_named_views_are_kept_and_the_decision_is_replayed(star: Path, tmp_path: Path) -> None:
    """Class 1 looks like the view, turned; class 2 does not. The decision names the view and selects the same again."""
    y, x = np.indices((BOX, BOX)) - BOX // 2
    bar = np.exp(-(x**2) / 8.0 - y**2 / 72.0) + np.exp(-((x - 5) ** 2) / 8.0 - (y - 6) ** 2 / 8.0)
    ring = np.exp(-((np.hypot(x, y) - 9.0) ** 2) / 3.0)
    write_stack(tmp_path / "views.mrcs", np.stack([np.rot90(bar), np.rot90(bar, 2) * 0.5]), PIXEL)
    write_stack(tmp_path / "classes.mrcs", np.stack([bar, ring]), PIXEL)
    inputs = {"particles": star, "classes": tmp_path / "classes.mrcs", "views": tmp_path / "views.mrcs"}
    how: dict[str, Any] = {"smallest_similarity": 0.9, "views_resolution_angstrom": 8.0}
    result = _run(_request("classselection", tmp_path / "one", inputs, **how))
    assert result.rows == {"particles": 3} and result.numbers["selected_classes"] == 1.0
    decision = read_star(tmp_path / "one" / "selection.star")["selection"]
    assert decision.numbers("cryoreproViewSimilarity")[0] > 0.95 > 0.9 > decision.numbers("cryoreproViewSimilarity")[1]
    assert decision.integers("cryoreproNearestView")[0] in (1, 2)
    again = {"particles": star, "selection": tmp_path / "one" / "selection.star"}
    _run(_request("classselection", tmp_path / "two", again))
    names = [(tmp_path / folder / "particles.star").read_bytes() for folder in ("one", "two")]
    assert names[0] == names[1]
    with pytest.raises(InputError, match="needs class averages and views"):
        _run(_request("classselection", tmp_path / "three", {"particles": star}, **how))


def test_classes_with_nothing_in_their_middle_are_left_out(star: Path, tmp_path: Path) -> None:
    """Class 2 is the place beside a particle: as well resolved, and dark where a particle would be."""
    y, x = np.indices((BOX, BOX)) - BOX // 2
    particle = np.exp(-(x**2 + y**2) / 18.0)
    beside = np.exp(-((x - BOX // 2) ** 2 + y**2) / 18.0) - 0.2 * particle
    write_stack(tmp_path / "classes.mrcs", np.stack([particle, beside]), PIXEL)
    inputs = {"particles": star, "classes": tmp_path / "classes.mrcs"}
    result = _run(_request("classselection", tmp_path / "one", inputs, smallest_central_density=0.0))
    assert result.rows == {"particles": 3} and result.numbers["selected_classes"] == 1.0
    found = read_star(tmp_path / "one" / "selection.star")["selection"].numbers("cryoreproCentralDensity")
    assert found[0] > 0.5 and found[1] < -0.2
    with pytest.raises(InputError, match="a limit on central density needs class averages"):
        _run(_request("classselection", tmp_path / "two", {"particles": star}, smallest_central_density=0.0))
    write_stack(tmp_path / "fewer.mrcs", particle[None], PIXEL)
    with pytest.raises(InputError, match="1 class averages, but 2 classes"):
        _run(
            _request(
                "classselection",
                tmp_path / "three",
                {"particles": star, "classes": tmp_path / "fewer.mrcs"},
                smallest_central_density=0.0,
            )
        )


def test_a_choice_by_hand_that_nobody_made_is_asked_for(star: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made by hand; give parameters.classes"):
        _run(_request("classselection", tmp_path / "out", {"particles": star}, keep="by-hand"))


def test_rows_that_were_not_selected_do_not_pass(star: Path, tmp_path: Path) -> None:
    asked = _request("classselection", tmp_path / "out", {"particles": star}, classes=[2])
    _run(asked)
    write_particles(asked.output_dir / "particles.star", read_particles(star, require_ctf=False))
    with pytest.raises(StageFailure, match="4 particles, not the 1 of the selected classes"):
        RUNNER.collect(asked, asked.output_dir / "log")


def _spots(directory: Path) -> tuple[np.ndarray, Particles]:
    """Centre of mass (x, y) of every image's spot from the origin pixel, in pixels, and the table."""
    table = read_particles(directory / "particles.star", require_ctf=False)
    images = np.asarray(mrcfile.read(directory / "particles.mrcs"), dtype=np.float64)
    size = images.shape[1]
    y, x = np.indices((size, size)) - size // 2
    weights = np.where(images > 0.4 * images.max(axis=(1, 2), keepdims=True), images, 0.0)
    total = weights.sum(axis=(1, 2))
    return np.stack([(weights * axis).sum(axis=(1, 2)) / total for axis in (x, y)], axis=1), table


@pytest.mark.parametrize("source", ["micrographs", "stack"])
def test_particles_are_centred_to_half_a_pixel_and_the_rest_stays_in_the_origins(
    star: Path, tmp_path: Path, source: str
) -> None:
    inputs = {"particles": star} | ({"micrographs": star.parent / "micrographs.star"} if source != "stack" else {})
    result = _run(_request("reextraction", tmp_path / "out", inputs, box_px=24))
    assert result.numbers == {"box_px": 24.0, "pixel_size_angstrom": PIXEL} and result.rows == {"particles": 4}
    spots, table = _spots(tmp_path / "out")
    assert np.abs(table.origins_angstrom).max() <= 0.5 * PIXEL + 1e-9
    # the origin is the shift that centres: it takes the spot to the origin pixel (the fourth is the third's neighbour)
    assert np.abs(spots[:3] + table.origins_angstrom[:3] / PIXEL).max() < 0.15
    if source == "micrographs":
        left = table.origins_angstrom / PIXEL
        at = np.stack([table.numbers("rlnCoordinateX"), table.numbers("rlnCoordinateY")], axis=1)
        assert np.allclose(at - left, TRUE, atol=1e-5)


def test_duplicates_go_and_the_box_is_rescaled(star: Path, tmp_path: Path) -> None:
    inputs = {"particles": star, "micrographs": star.parent / "micrographs.star"}
    asked = _request(
        "reextraction", tmp_path / "out", inputs, box_px=48, rescaled_box_px=24, duplicates_within_angstrom=10
    )
    assert _run(asked).rows == {"particles": 3}
    table = read_particles(tmp_path / "out" / "particles.star", require_ctf=False)
    assert table.pixel_size_angstrom == 2 * PIXEL and table.optics[0].box_px == 24
    images = np.asarray(mrcfile.read(tmp_path / "out" / "particles.mrcs"), dtype=np.float64)
    y, x = np.indices((24, 24)) - 12
    outside = images[:, x**2 + y**2 > (0.375 * 24) ** 2]
    assert np.abs(outside.mean(axis=1)).max() < 1e-5 and np.abs(outside.std(axis=1) - 1.0).max() < 1e-5


def test_cropping_in_fourier_space_keeps_a_band_limited_image() -> None:
    y, x = np.indices((64, 64)) - 32

    def wave(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.asarray(1.5 + np.cos(2 * np.pi * (3 * u + 2 * v)) + np.sin(2 * np.pi * (5 * v - u)))

    small_y, small_x = np.indices((32, 32)) - 16
    assert np.allclose(fourier_crop(wave(x / 64, y / 64), 32), wave(small_x / 32, small_y / 32), atol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"box_px": 40}, "must fit in the images' even box of 32"),
        ({"duplicates_within_angstrom": 20.0}, "needs inputs.micrographs"),
    ],
    ids=["too-large", "duplicates-of-a-stack"],
)
def test_what_a_stack_cannot_give_is_refused(
    star: Path, tmp_path: Path, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        _run(_request("reextraction", tmp_path / "out", {"particles": star}, **parameters))


def test_a_micrograph_that_is_not_listed_is_named(star: Path, tmp_path: Path) -> None:
    table = read_particles(star, require_ctf=False)
    moved = table.with_columns(rlnMicrographName=np.array(["other.mrc"] * 4, dtype=object))
    write_particles(star, moved)
    inputs = {"particles": star, "micrographs": star.parent / "micrographs.star"}
    with pytest.raises(InputError, match="micrograph other.mrc is not listed"):
        _run(_request("reextraction", tmp_path / "out", inputs, box_px=24))
