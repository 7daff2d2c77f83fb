"""One setting of blobs, and templates of the model, against a person's labels on real micrographs."""

from __future__ import annotations

import csv
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch

from cryorepro.em.atomic import model_density, read_model
from cryorepro.em.formats.maps import write_map
from cryorepro.em.pick_matching import match_positions
from cryorepro.em.picking.inspection import Limits, automatic_limits
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.references import read_templates
from cryorepro.em.picking.search import PickSettings, pick_blobs, pick_templates
from cryorepro.em.picking.tables import PickTable
from cryorepro.em.reextraction import read_micrograph
from tests.em.picking.scenes import Floats

REAL = "apoferritin_EMPIAR-10146"
RINGS = (PickSettings(110.0, 130.0), frozenset({"ring"}))
"""The one setting of every real micrograph here."""


@pytest.fixture(scope="module")
def micrographs(real_data: Path) -> dict[str, Floats]:
    paths = sorted((real_data / REAL / "micrographs_avg").glob("*.png"))
    return {path.name: imagecodecs.png_decode(path.read_bytes()).astype(np.float64) for path in paths}


@pytest.fixture(scope="module")
def labels(real_data: Path) -> dict[str, Floats]:
    with (real_data / REAL / "human_labels.csv").open() as stream:
        rows = [(row["micrograph"], float(row["x_px"]), float(row["y_px"])) for row in csv.DictReader(stream)]
    return {name: np.array([(x, y) for other, x, y in rows if other == name]) for name in {row[0] for row in rows}}


def judged(found: dict[str, Picks], labels: dict[str, Floats]) -> tuple[float, float]:
    """Recall and precision of the picks that the automatic rule keeps, within a quarter of the diameter."""
    table = PickTable(Path("picks"), tuple(found), tuple(found.values()))
    limits = automatic_limits(table, "valley", Limits())
    matched = picked = marked = 0
    for name, picks in found.items():
        kept = [reason == "kept" for reason in limits.reasons(picks.ncc, picks.power)]
        match = match_positions(picks.at_px[kept], labels[name], 23.3)
        matched, picked, marked = matched + len(match.pairs), picked + match.found, marked + match.true
    return matched / marked, matched / picked


def test_real_micrographs_agree_with_a_person(micrographs: dict[str, Floats], labels: dict[str, Floats]) -> None:
    good = {name: image for name, image in micrographs.items() if name in labels}
    assert len(good) == 9
    found = {name: pick_blobs(torch.from_numpy(image), 1.5, *RINGS).picks for name, image in good.items()}
    recall, precision = judged(found, labels)
    assert recall >= 0.95
    assert precision >= 0.85


def test_templates_of_the_model_agree_with_a_person(
    micrographs: dict[str, Floats], labels: dict[str, Floats], real_data: Path, tmp_path: Path
) -> None:
    density = model_density(read_model(real_data / "models" / "4v1w.cif").centred(), 64, 3.0, lowpass_angstrom=15.0)
    write_map(tmp_path / "model.mrc", density, 3.0)
    references = read_templates(
        tmp_path / "model.mrc", selection=None, lowpass_angstrom=20.0, symmetry="C1", healpix_order=0
    )
    settings = PickSettings(120.0, 120.0)
    names = sorted(set(micrographs) & set(labels))[:4]
    found = {name: pick_templates(torch.from_numpy(micrographs[name]), 1.5, settings, references, 60.0, None).picks
             for name in names}  # fmt: skip
    recall, precision = judged(found, labels)
    assert recall >= 0.95
    assert precision >= 0.85


@pytest.mark.parametrize("pixel", [4.9, 6.0])
def test_an_ice_ball_is_masked_and_what_is_left_holds_no_particles(real_data: Path, pixel: float) -> None:
    image = read_micrograph(real_data / "micrograph_bad_ice" / "Ucsf_stack_1142_DW.mrc")
    found = pick_blobs(torch.from_numpy(image), pixel, *RINGS)
    assert found.masked_share > 0.1
    y, x = found.picks.at_px[:, 1], found.picks.at_px[:, 0]
    ball = np.hypot(x - 745, y - 125) < 180
    assert not ball.any()
    # at the coefficient that keeps 98 in 100 of the labelled particles above, one in a hundred of these is left
    assert (found.picks.ncc > 0.41).sum() < 0.02 * len(found.picks)
