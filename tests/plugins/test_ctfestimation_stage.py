"""CTF estimation as a stage: run as a process through the runner, judged by the tables it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import CpuOnlyRunner, RelionLikeRunner

from cryorepro.em.ctf_estimation_files import LOCAL_DEFOCUS, MICROGRAPHS, SET_ASIDE
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.reextraction import read_micrographs
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageFailure, StageRequest
from tests.em.thon_rings import ABERRATION, CONTRAST, PIXEL, VOLTAGE, Floats, thon_rings

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
DEFOCI = {"near": (12000.0, 11600.0, 60.0), "far": (26000.0, 25200.0, 150.0)}
BAD = {"noise": "no-rings", "zeros": "flat", "holes": "NaN", "short": "truncated"}


def images() -> dict[str, Floats]:
    rng = np.random.default_rng(11)
    good = {name: thon_rings(rng, *true, size=1024) for name, true in DEFOCI.items()}
    holes = good["near"].copy()
    holes[5, 7] = np.nan
    return good | {
        "noise": rng.standard_normal((1024, 1024)),
        "zeros": np.zeros((1024, 1024)),
        "holes": holes,
        "short": holes,
    }


def listed(star: Path, names: list[str], **optics: float) -> Path:
    values: dict[str, Any] = {
        "rlnOpticsGroupName": "one", "rlnOpticsGroup": 1, "rlnMicrographPixelSize": PIXEL, "rlnVoltage": VOLTAGE,
        "rlnSphericalAberration": ABERRATION, "rlnAmplitudeContrast": CONTRAST,
    }  # fmt: skip
    rows = [f"sums/{name}.mrc" for name in names]
    table: dict[str, list[Any]] = {"rlnMicrographName": rows, "rlnOpticsGroup": [1] * len(names)}
    blocks = [make_block("optics", {k: [v] for k, v in (values | optics).items()}), make_block("micrographs", table)]
    write_star(star, blocks)
    return star


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("motion")
    (home / "sums").mkdir()
    for name, image in images().items():
        write_map(home / "sums" / f"{name}.mrc", image[None].astype(np.float32), PIXEL)
    with (home / "sums" / "short.mrc").open("r+b") as stream:
        stream.truncate(100_000)
    listed(home / "corrected_micrographs.star", [*DEFOCI, *BAD])
    return home


def asked(star: Path, output: Path, **parameters: Any) -> StageRequest:
    complete = KNOWN_PARAMETERS["ctfestimation"].model_validate(parameters).model_dump()
    inputs = {"micrographs": star}
    return StageRequest(
        stage="ctf", kind="ctfestimation", parameters=complete, inputs=inputs, output_dir=output, seed=3
    )


def run(request: StageRequest, runner: RelionLikeRunner | None = None) -> subprocess.CompletedProcess[str]:
    planned = (runner or RelionLikeRunner()).plan(request)
    request.output_dir.mkdir(parents=True)
    environment = ENVIRONMENT | planned.environment
    return subprocess.run(planned.argv, cwd=planned.cwd, env=environment, capture_output=True, text=True)


def test_good_micrographs_are_fitted_and_bad_ones_set_aside_by_name(motion: Path, tmp_path: Path) -> None:
    request = asked(motion / "corrected_micrographs.star", tmp_path / "job" / "ctf")
    done = run(request)
    assert done.returncode == 0, done.stderr
    result = RelionLikeRunner().collect(request, tmp_path / "log")
    assert result.rows == {"micrographs": 2, "set_aside": 4}
    blocks = read_star(request.output_dir / MICROGRAPHS)
    table = blocks["micrographs"]
    assert table.text("rlnMicrographName") == [f"sums/{name}.mrc" for name in DEFOCI]
    for row, (u, v, angle) in enumerate(DEFOCI.values()):
        assert table.numbers("rlnDefocusU")[row] == pytest.approx(u, abs=150.0)
        assert table.numbers("rlnDefocusV")[row] == pytest.approx(v, abs=150.0)
        assert table.numbers("rlnCtfAstigmatism")[row] == pytest.approx(u - v, abs=200.0)
        assert table.numbers("rlnDefocusAngle")[row] == pytest.approx(angle, abs=6.0)
        assert table.numbers("rlnCtfMaxResolution")[row] < 6.0
    assert blocks["optics"].numbers("rlnVoltage") == [VOLTAGE]
    for (name, words), note in zip(BAD.items(), result.notes, strict=True):
        assert f"sums/{name}.mrc" in note
        assert words in note
    # the next stage finds the micrographs by the same names, and every fitted one has its plane
    assert set(read_micrographs(request.output_dir / MICROGRAPHS).paths) == set(table.text("rlnMicrographName"))
    # RELION reads every column and keeps both by one of them
    chosen = ["--i", MICROGRAPHS, "--o", "relion.star", "--select", "rlnCtfMaxResolution", "--maxval", "6"]
    subprocess.run(["relion_star_handler", *chosen], cwd=request.output_dir, check=True, capture_output=True)
    kept = read_star(request.output_dir / "relion.star")["micrographs"]
    assert kept.text("rlnMicrographName") == table.text("rlnMicrographName")
    assert kept.numbers("rlnDefocusU") == pytest.approx(table.numbers("rlnDefocusU"), abs=0.1)
    assert set(kept.columns) == set(table.columns)
    planes = read_star(request.output_dir / LOCAL_DEFOCUS)["local_defocus"]
    assert planes.text("rlnMicrographName") == table.text("rlnMicrographName")


def test_the_deterministic_runner_repeats_its_bytes_on_any_threads(motion: Path, tmp_path: Path) -> None:
    star = listed(motion / "good.star", ["near"])
    texts = []
    for threads in (1, 2):
        request = asked(star, tmp_path / str(threads)).model_copy(update={"threads": threads})
        assert run(request, CpuOnlyRunner()).returncode == 0
        CpuOnlyRunner().collect(request, tmp_path / "log")
        texts.append((request.output_dir / MICROGRAPHS).read_bytes())
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("names", "optics", "parameters", "words"),
    [
        (["gone"], {}, {}, "gone.mrc does not exist"),
        (["near"], {"rlnVoltage": 3.0}, {}, "rlnVoltage"),
        (["near", "near"], {}, {}, "twice"),
        (["zeros"], {}, {}, "none of 1 micrographs is usable"),
        (["near"], {}, {"lowest_defocus_angstrom": 9000.0, "highest_defocus_angstrom": 9000.0}, "cannot be fitted"),
    ],
    ids=["missing-file", "voltage", "twice", "all-bad", "empty-range"],
)
def test_bad_input_is_refused_with_one_sentence(
    names: list[str], optics: dict[str, float], parameters: dict[str, float], words: str, motion: Path, tmp_path: Path
) -> None:
    done = run(asked(listed(motion / "wrong.star", names, **optics), tmp_path / "job", **parameters))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "job" / MICROGRAPHS).exists()


def test_tables_that_do_not_hold_together_are_not_believed(motion: Path, tmp_path: Path) -> None:
    request = asked(listed(motion / "one.star", ["near"]), tmp_path / "job")
    assert run(request).returncode == 0
    collect = RelionLikeRunner().collect
    collect(request, tmp_path / "log")
    path = request.output_dir / MICROGRAPHS
    blocks = read_star(path)
    changed = dict(blocks["micrographs"].columns) | {"rlnDefocusU": ["nan"]}
    write_star(path, [blocks["optics"], make_block("micrographs", changed)])
    with pytest.raises(StageFailure, match="finite"):
        collect(request, tmp_path / "log")
    write_star(path, blocks)
    (request.output_dir / SET_ASIDE).unlink()
    with pytest.raises(StageFailure, match="set_aside"):
        collect(request, tmp_path / "log")


def test_micrographs_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inputs\.micrographs"):
        RelionLikeRunner().plan(asked(tmp_path / "x", tmp_path).model_copy(update={"inputs": {}}))
