"""Extraction by the real RELION, held against boxes cut here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest
from tests.plugins.relion_set import carry_out, collect

PIXEL, BOX, SHAPE = 2.0, 64, (300, 400)
PICKS = {"a": [(100.0, 100.0), (201.0, 150.0)], "b": [(64.0, 200.0)]}
DEFOCUS = {"a": 10000.0, "b": 21000.0}


def micrograph(name: str) -> np.ndarray:
    return np.random.default_rng(ord(name)).normal(5.0, 2.0, SHAPE).astype(np.float32)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for folder in ("ctf", "picks"):
        (tmp_path / folder / "micrographs").mkdir(parents=True)
    for name, places in PICKS.items():
        write_map(tmp_path / "ctf" / "micrographs" / f"{name}.mrc", micrograph(name)[None], PIXEL)
        columns = {"rlnCoordinateX": [x for x, _ in places], "rlnCoordinateY": [y for _, y in places]}
        write_star(tmp_path / "picks" / "micrographs" / f"{name}_autopick.star", [make_block("", columns)])
    names = [f"micrographs/{name}.mrc" for name in PICKS]
    optics: dict[str, list[Any]] = {
        "rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnMicrographOriginalPixelSize": [PIXEL],
        "rlnMicrographPixelSize": [PIXEL], "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
    }  # fmt: skip
    defocus = list(DEFOCUS.values())
    rows: dict[str, list[Any]] = {
        "rlnMicrographName": names, "rlnOpticsGroup": [1, 1], "rlnDefocusU": defocus, "rlnDefocusV": defocus,
        "rlnDefocusAngle": [0.0, 0.0],
    }  # fmt: skip
    write_star(
        tmp_path / "ctf" / "micrographs_ctf.star", [make_block("optics", optics), make_block("micrographs", rows)]
    )
    files = [f"micrographs/{name}_autopick.star" for name in PICKS]
    listed = {"rlnMicrographName": names, "rlnMicrographCoordinates": files}
    write_star(tmp_path / "picks" / "autopick.star", [make_block("coordinate_files", listed)])
    return tmp_path


def asked(home: Path, **parameters: Any) -> StageRequest:
    complete = KNOWN_PARAMETERS["extraction"].model_validate({"box_px": BOX} | parameters).model_dump()
    inputs = {"micrographs": home / "ctf" / "micrographs_ctf.star", "coordinates": home / "picks" / "autopick.star"}
    return StageRequest(
        stage="extract", kind="extraction", parameters=complete, inputs=inputs, output_dir=home / "out", seed=1
    )


def test_every_pick_is_the_box_around_it(job: Path) -> None:
    request = asked(job, normalise=False, invert_contrast=True)
    assert carry_out(request) == 0
    result = collect(request)
    table = read_particles(job / "out" / result.outputs["particles"])
    images = ParticleStack.open(table).read()
    boxes = [
        -micrograph(name)[int(y) - BOX // 2 : int(y) + BOX // 2, int(x) - BOX // 2 : int(x) + BOX // 2]
        for name, places in PICKS.items()
        for x, y in places
    ]
    assert result.rows == {"particles": 3} and len(images) == 3
    for image, box in zip(images, boxes, strict=True):
        assert np.corrcoef(image.ravel(), box.ravel())[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert table.columns["rlnDefocusU"].tolist() == [DEFOCUS["a"], DEFOCUS["a"], DEFOCUS["b"]]


def test_a_smaller_box_keeps_the_field_of_view(job: Path) -> None:
    request = asked(job, rescaled_box_px=32)
    assert carry_out(request) == 0
    result = collect(request)
    table = read_particles(job / "out" / result.outputs["particles"])
    assert table.optics[0].pixel_size_angstrom == pytest.approx(2 * PIXEL)
    images = ParticleStack.open(table).read()
    y, x = np.indices((32, 32)) - 16
    outside = images[:, x**2 + y**2 > 12**2]
    assert np.allclose(outside.mean(axis=1), 0, atol=1e-3) and np.allclose(outside.std(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"box_px": None}, "box_px is not given"), ({"duplicates_within_angstrom": 5.0}, "duplicates_within_angstrom")],
)
def test_what_relion_does_not_do_is_refused(job: Path, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RelionRunner().plan(asked(job, **parameters))


def test_picks_where_relion_does_not_look_are_refused(job: Path) -> None:
    (job / "picks" / "elsewhere").mkdir()
    for name in PICKS:
        moved = job / "picks" / "elsewhere" / f"{name}_autopick.star"
        (job / "picks" / "micrographs" / f"{name}_autopick.star").rename(moved)
    listed = {
        "rlnMicrographName": [f"micrographs/{name}.mrc" for name in PICKS],
        "rlnMicrographCoordinates": [f"elsewhere/{name}_autopick.star" for name in PICKS],
    }
    write_star(job / "picks" / "autopick.star", [make_block("coordinate_files", listed)])
    with pytest.raises(InputError, match="RELION looks there for the picks of micrographs/a.mrc"):
        RelionRunner().plan(asked(job))
