"""Curation as a stage: limits, the decision it leaves, and the same decision given again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner

from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest, StageResult

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
OPTICS: dict[str, list[Any]] = {
    "rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnMicrographPixelSize": [1.5], "rlnVoltage": [300.0],
    "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
}  # fmt: skip
COLUMNS: dict[str, list[float]] = {
    "rlnDefocusU": [10100.0, 20100.0, 60000.0, 15000.0],
    "rlnDefocusV": [9900.0, 19900.0, 59000.0, 12000.0],
    "rlnCtfAstigmatism": [200.0, 200.0, 1000.0, 3000.0],
    "rlnCtfMaxResolution": [3.5, 9.0, 4.0, 4.0],
    "rlnCtfFigureOfMerit": [0.5, 0.1, 0.4, 0.4],
    "rlnAccumMotionTotal": [10.0, 12.0, 14.0, 500.0],
}
NAMES = [f"sums/{letter}.mrc" for letter in "abcd"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "ctf" / "sums").mkdir(parents=True)
    for name in NAMES:
        write_map(tmp_path / "ctf" / name, np.ones((1, 8, 8), dtype=np.float32), 1.5)
    star = tmp_path / "ctf" / "micrographs_ctf.star"
    rows: dict[str, list[Any]] = {"rlnMicrographName": NAMES, "rlnOpticsGroup": [1] * 4, **COLUMNS}
    write_star(star, [make_block("optics", OPTICS), make_block("micrographs", rows)])
    return star


def run(
    output: Path, micrographs: Path, decision: Path | None = None, **limits: Any
) -> tuple[subprocess.CompletedProcess[str], StageRequest]:
    inputs = {"micrographs": micrographs} | ({"decision": decision} if decision else {})
    parameters = KNOWN_PARAMETERS["curation"].model_validate(limits).model_dump()
    request = StageRequest(
        stage="curate", kind="curation", parameters=parameters, inputs=inputs, output_dir=output, seed=1
    )
    planned = RelionLikeRunner().plan(request)
    output.mkdir()
    environment = ENVIRONMENT | planned.environment
    return subprocess.run(planned.argv, cwd=output, env=environment, capture_output=True, text=True), request


def collected(request: StageRequest) -> StageResult:
    return RelionLikeRunner().collect(request, request.output_dir / "log")


def names_in(star: Path) -> list[str]:
    return read_star(star)["micrographs"].text("rlnMicrographName")


@pytest.mark.parametrize(
    ("limits", "kept", "words"),
    [
        ({"worst_ctf_resolution_angstrom": 5.0}, "acd", "CTF resolution 9 A above 5"),
        ({"lowest_ctf_correlation": 0.3}, "acd", "CTF correlation 0.1 below 0.3"),
        ({"lowest_defocus_angstrom": 11000, "highest_defocus_angstrom": 30000}, "bd", "defocus 1e+04 A below 1.1e+04"),
        ({"highest_astigmatism_angstrom": 999.0}, "ab", "astigmatism 3000 A above 999"),
        ({"highest_total_motion_angstrom": 14.0}, "abc", "motion 500 A above 14"),
        ({"worst_ctf_resolution_angstrom": 5.0, "lowest_ctf_correlation": 0.3}, "acd", "5; CTF correlation 0.1"),
    ],
)
def test_each_limit_leaves_out_what_breaks_it(
    tmp_path: Path, table: Path, limits: dict[str, Any], kept: str, words: str
) -> None:
    done, request = run(tmp_path / "out", table, **limits)
    assert done.returncode == 0, done.stderr
    result = collected(request)
    assert names_in(tmp_path / "out" / "micrographs_selected.star") == [f"sums/{letter}.mrc" for letter in kept]
    assert result.rows["micrographs"] == len(kept)
    assert any(words in note for note in result.notes)
    columns = read_star(tmp_path / "out" / "micrographs_selected.star")["micrographs"].columns
    assert set(COLUMNS) <= set(columns)


def test_the_decision_is_replayed_exactly(tmp_path: Path, table: Path) -> None:
    first, _ = run(tmp_path / "first", table, worst_ctf_resolution_angstrom=5.0)
    again, request = run(tmp_path / "again", table, tmp_path / "first" / "decision.star")
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    for name in ("micrographs_selected.star", "decision.star"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    collected(request)


def test_a_saved_choice_overrides_the_limits_that_would_have_been(tmp_path: Path, table: Path) -> None:
    saved = tmp_path / "mine.star"
    chosen: dict[str, list[Any]] = {"rlnMicrographName": NAMES[::-1], "rlnSelected": [1, 0, 0, 1]}
    write_star(saved, [make_block("curation", chosen)])
    done, _ = run(tmp_path / "out", table, saved)
    assert done.returncode == 0, done.stderr
    assert names_in(tmp_path / "out" / "micrographs_selected.star") == ["sums/a.mrc", "sums/d.mrc"]


def without(table: Path, label: str) -> Path:
    blocks = read_star(table)
    rows = {key: values for key, values in blocks["micrographs"].columns.items() if key != label}
    write_star(table, [blocks["optics"], make_block("micrographs", rows)])
    return table


def test_what_cannot_be_decided_is_refused_by_name(tmp_path: Path, table: Path) -> None:
    other = tmp_path / "other.star"
    wrong: dict[str, list[Any]] = {"rlnMicrographName": [*NAMES[:3], "sums/e.mrc"], "rlnSelected": [1, 1, 1, 1]}
    write_star(other, [make_block("curation", wrong)])
    both, _ = run(tmp_path / "both", table, other, worst_ctf_resolution_angstrom=5.0)
    none, _ = run(tmp_path / "none", table)
    strange, _ = run(tmp_path / "strange", table, other)
    empty, _ = run(tmp_path / "empty", table, worst_ctf_resolution_angstrom=1.0)
    missing, _ = run(tmp_path / "missing", without(table, "rlnAccumMotionTotal"), highest_total_motion_angstrom=1.0)
    for done, words in (
        (both, "one"), (none, "give a limit"), (strange, "sums/d.mrc differs"), (empty, "no micrograph keeps"),
        (missing, "rlnAccumMotionTotal is missing"),
    ):  # fmt: skip
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
