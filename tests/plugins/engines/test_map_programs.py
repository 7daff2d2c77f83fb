"""Mask creation and post-processing as programs: RELION's file names, judged by the runners' own checks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.relion_products import inspect_maskcreate, inspect_postprocess
from cryorepro.model.stage import StageRequest
from tests.em.halves import BOX, PIXEL, half_maps


@pytest.fixture
def halves(tmp_path: Path) -> dict[str, Path]:
    paths = {role: tmp_path / f"{role}.mrc" for role in ("half1", "half2")}
    for path, volume in zip(paths.values(), half_maps(), strict=True):
        write_map(path, volume, PIXEL)
    return paths


def _run(kind: str, directory: Path, inputs: dict[str, Path], **parameters: Any) -> tuple[int, str]:
    directory.mkdir(exist_ok=True)
    request = StageRequest(stage=kind, kind=kind, parameters=parameters, inputs=inputs, output_dir=directory, seed=4)
    argv = [sys.executable, "-m", f"cryorepro_engines.programs.{kind}", "--request-json", request.model_dump_json()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr.strip()


def test_a_mask_then_post_processing(halves: dict[str, Path], tmp_path: Path) -> None:
    code, err = _run("maskcreate", tmp_path / "mask", {"map": halves["half1"]}, threshold=1.5, lowpass_angstrom=15.0)
    assert code == 0, err
    report = inspect_maskcreate(tmp_path / "mask", box_px=BOX)
    inputs = halves | {"mask": tmp_path / "mask" / "mask.mrc"}
    for name in ("post", "again"):
        code, err = _run("postprocess", tmp_path / name, inputs, lowest_resolution_angstrom=20.0)
        assert code == 0, err
    assert 0.0 < report.numbers["mask_fraction_of_box"] < 0.5
    found = inspect_postprocess(tmp_path / "post", box_px=BOX, masked=True)
    assert found.numbers["final_resolution_angstrom"] < 20.0
    for name in ("postprocess.mrc", "postprocess.star", "postprocess_fsc.xml"):
        assert (tmp_path / "post" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_masked_map_ends_where_the_real_relions_does(halves: dict[str, Path], tmp_path: Path) -> None:
    """Both programs on the same files, compared voxel by voxel; only the random phases differ."""
    mask = tmp_path / "mask"
    assert _run("maskcreate", mask, {"map": halves["half1"]}, threshold=1.5, lowpass_angstrom=15.0)[0] == 0
    inputs = halves | {"mask": mask / "mask.mrc"}
    parameters = {"automatic_bfactor": False, "bfactor_angstrom2": -100.0}
    assert _run("postprocess", tmp_path / "ours", inputs, **parameters)[0] == 0
    program = shutil.which("relion_postprocess")
    assert program is not None, "the real RELION must be installed for this test"
    (tmp_path / "theirs").mkdir()
    argv = [program, "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask/mask.mrc", "--angpix", str(PIXEL)]
    argv += ["--o", "theirs/postprocess", "--adhoc_bfac", "-100"]
    subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False)
    ours, theirs = (read_map(tmp_path / name / "postprocess_masked.mrc")[0] for name in ("ours", "theirs"))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.995


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("maskcreate", {"threshold": 1e6}, "no voxel"),
        ("maskcreate", {}, "threshold"),
        ("postprocess", {"bfactor_angstrom2": -50.0}, "not both"),
        ("postprocess", {"lowest_resolution_angstrom": 6.1}, "fit needs three"),
    ],
)
def test_bad_requests_are_one_sentence(
    halves: dict[str, Path], tmp_path: Path, kind: str, parameters: dict[str, Any], words: str
) -> None:
    inputs = {"map": halves["half1"]} if kind == "maskcreate" else halves
    code, err = _run(kind, tmp_path / "out", inputs, **parameters)
    assert code == 2 and words in err and len(err.splitlines()) == 1, err
    assert not list((tmp_path / "out").iterdir())


def test_halves_of_different_pixel_size_are_refused(halves: dict[str, Path], tmp_path: Path) -> None:
    write_map(halves["half2"], half_maps()[1], PIXEL * 1.1)
    code, err = _run("postprocess", tmp_path / "out", halves)
    assert code == 2 and "half2.mrc" in err and "pixel size" in err
