"""Picking by the real RELION, on discs whose places are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.picking.tables import read_picks
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageFailure, StageRequest
from tests.em.picking.scenes import PIXEL, found_of, places, scene
from tests.plugins.relion_set import carry_out, collect

SIZE, NAMES = (512, 512), ("a", "b")


def true_places(name: str) -> np.ndarray:
    return places(np.random.default_rng(ord(name)), 12, SIZE, 80.0, 70.0)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "ctf" / "sums"
    folder.mkdir(parents=True)
    for name in NAMES:
        image = scene(np.random.default_rng(1), true_places(name), SIZE, noise=0.7)
        write_map(folder / f"{name}.mrc", image[None].astype(np.float32), PIXEL)
    optics: dict[str, list[Any]] = {
        "rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnMicrographPixelSize": [PIXEL], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
    }  # fmt: skip
    rows: dict[str, list[Any]] = {"rlnMicrographName": [f"sums/{name}.mrc" for name in NAMES], "rlnOpticsGroup": [1, 1]}
    blocks = [make_block("optics", optics), make_block("micrographs", rows)]
    write_star(tmp_path / "ctf" / "micrographs_ctf.star", blocks)
    y, x = np.indices((64, 64)) - 32
    write_stack(tmp_path / "average.mrcs", 1.0 * (np.hypot(x, y) < 20)[None], 3.0)
    return tmp_path


def asked(home: Path, templates: bool = False, **parameters: Any) -> StageRequest:
    sizes = {"smallest_diameter_angstrom": 120, "largest_diameter_angstrom": 120}
    complete = KNOWN_PARAMETERS["picking"].model_validate(sizes | parameters).model_dump()
    inputs = {"micrographs": home / "ctf" / "micrographs_ctf.star"}
    inputs |= {"templates": home / "average.mrcs"} if templates else {}
    return StageRequest(
        stage="pick", kind="picking", parameters=complete, inputs=inputs, output_dir=home / "out", seed=1
    )


@pytest.mark.parametrize("method", ["log", "template"])
def test_the_picks_are_where_the_discs_are(job: Path, method: str) -> None:
    request = asked(job, templates=method == "template", method=method, ctf=False)
    assert carry_out(request) == 0
    result = collect(request)
    assert result.outputs["coordinates"] == Path("picks/autopick.star")
    table = read_picks(job / "out" / result.outputs["coordinates"])
    assert table.names == ("sums/a.mrc", "sums/b.mrc")
    for name, picks in zip(NAMES, table.picks, strict=True):
        recall, precision, apart = found_of(true_places(name), picks.at_px, 15.0)
        assert recall >= 0.9 and precision >= 0.7 and np.median(apart) * PIXEL < 15.0
    assert not list((job / "ctf" / "sums").glob("*_autopick.star")), "nothing is written beside the micrographs"


def test_what_relion_leaves_unused_is_said(job: Path) -> None:
    request = asked(job, method="blob", ring=True, lowest_ncc=0.3)
    assert carry_out(request) == 0
    notes = collect(request).notes
    assert "parameters.ring: RELION picks without it" in notes
    assert "parameters.lowest_ncc: RELION picks without it" in notes


def test_a_micrograph_without_picks_written_is_not_finished(job: Path) -> None:
    request = asked(job, method="log")
    assert carry_out(request) == 0
    (job / "out" / "picks" / "sums" / "b_autopick.star").unlink()
    with pytest.raises(StageFailure, match="b_autopick.star: RELION wrote no picks"):
        collect(request)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"method": "network"}, "RELION 3.1 has none"),
        ({"method": "template"}, r"inputs\.templates"),
        ({"method": "log", "micrographs": 1}, "RELION picks the whole list"),
        (
            {"smallest_diameter_angstrom": None, "largest_diameter_angstrom": None},
            "largest_diameter_angstrom is not given",
        ),
    ],
    ids=["network", "no-templates", "first-so-many", "no-diameter"],
)
def test_what_relion_cannot_do_is_refused(job: Path, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RelionRunner().plan(asked(job, **parameters))
