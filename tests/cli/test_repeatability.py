"""A run states how well its machine repeats itself, and runs beside each other say what that lets them see."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Command


def run(cryorepro: Command, *arguments: str) -> str:
    done = cryorepro("reproduce", "toy", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout.splitlines()[-1])["run"])


@pytest.fixture
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CRYOREPRO_CALIBRATION_SECONDS", "0.5")


@pytest.mark.usefixtures("toy", "half_a_second")
def test_runs_state_it_and_comparisons_use_it(cryorepro: Command, toy: Path, tmp_path: Path) -> None:
    first, second = run(cryorepro), run(cryorepro)
    seen = [json.loads(cryorepro("show", name, "--json").stdout) for name in (first, second)]
    calibrations = [one["calibration"] for one in seen]
    assert [one["measured_for_this_run"] for one in calibrations] == [True, False]
    assert calibrations[0]["seconds"] == 0.5
    assert calibrations[0]["median_block_seconds"] == calibrations[1]["median_block_seconds"]
    assert seen[1]["noise"]["runs"] == [first, second]
    assert seen[1]["noise"]["stages"]["sum"]["interval"]["level"] == 0.5
    shown = cryorepro("show", second).stdout
    assert "2 replicates on this machine" in shown
    assert "repeatability of the machine" in shown
    side = json.loads(cryorepro("compare", first, second, "--json").stdout)
    assert side["smallest_visible"] == calibrations[0]["smallest_visible_once"]
    assert side["stages"][0]["wall_standing"] in ("faster", "slower", "within-noise")
    beside = cryorepro("compare", first, second)
    assert "cannot be told from the machines' own noise" in " ".join(beside.stdout.split())
    without = run(cryorepro, "--no-calibration")
    assert json.loads(cryorepro("show", without, "--json").stdout)["calibration"] is None
    beside = cryorepro("compare", first, without)
    assert "state no repeatability" in " ".join(beside.stdout.split())
    exported = cryorepro("export", first, "-o", str(tmp_path / "a.zip"))
    assert exported.returncode == 0, exported.stderr
    verified = cryorepro("verify", str(tmp_path / "a.zip"))
    assert verified.returncode == 0, verified.stdout
    assert cryorepro("compare", first, str(tmp_path / "a.zip"), "--json").returncode == 0


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("text", ["long", "-1", "601", "nan"])
def test_a_length_that_is_none_is_refused(cryorepro: Command, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setitem(os.environ, "CRYOREPRO_CALIBRATION_SECONDS", text)
    done = cryorepro("reproduce", "toy")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "from 0 to 600" in done.stderr


@pytest.mark.usefixtures("toy", "half_a_second")
def test_a_calibration_that_fails_costs_only_itself(
    cryorepro: Command, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "import sys\nif any('calibrate' in word for word in sys.orig_argv): raise SystemExit(9)\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    seen = json.loads(cryorepro("show", run(cryorepro), "--json").stdout)
    assert (seen["status"], seen["calibration"]) == ("completed", None)
    assert "not measured" in cryorepro("show", seen["run"]).stdout
