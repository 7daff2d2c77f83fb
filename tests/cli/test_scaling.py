"""``cryorepro scaling``: published series, tables of one's own, forecasts, bad input."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_published_runs_scale_as_published(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    picture = tmp_path / "scaling.svg"
    done = cryorepro("scaling", "relion-class3d-emp10028-K6-25it", "--json", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    (xeon,) = [series for series in json.loads(done.stdout) if "README" in series["system"]]
    assert [run["devices"] for run in xeon["runs"]] == [1, 2, 4, 8]
    assert xeon["runs"][3]["speedup"] == pytest.approx(4.7)
    assert xeon["runs"][3]["efficiency"] == pytest.approx(4.7 / 8)
    assert "speed-up for the cost" in picture.read_text()
    shown = cryorepro("scaling", "empiar-10028").stdout
    assert "left out: clusterra-2026-wall-1xa10g-headline" in shown and "Amdahl's law: serial fraction" in shown


def test_work_that_grows_with_the_devices_is_fitted_by_gustafsons_law(
    cryorepro: Command, home: Path, tmp_path: Path
) -> None:
    runs = [{"devices": n, "seconds": 100 * n / (0.2 + 0.8 * n), "work": n} for n in (1, 2, 4, 8)]
    path = tmp_path / "runs.yaml"
    path.write_text(json.dumps({"schema_version": 1, "title": "weak", "source": "here", "runs": runs}))
    (series,) = json.loads(cryorepro("scaling", "--table", str(path), "--json").stdout)
    assert series["fit"]["law"] == "gustafson"
    assert series["fit"]["serial_fraction"] == pytest.approx(0.2, abs=1e-4)


def test_a_run_is_forecast_from_its_first_iterations(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    shells = [8, 10, 14, 20, 30, 40]
    seen = [{"seconds": 10 + 0.1 * shell**2, "shell": shell} for shell in shells[:3]]
    content = {"schema_version": 1, "title": "first iterations", "box_px": 128, "total_iterations": 6}
    path = tmp_path / "iterations.yaml"
    path.write_text(json.dumps({**content, "iterations": seen, "planned_shells": shells[3:]}))
    found = json.loads(cryorepro("scaling", "--iterations", str(path), "--json").stdout)
    assert found["seconds"] == pytest.approx(sum(10 + 0.1 * shell**2 for shell in shells))
    text = cryorepro("scaling", "--iterations", str(path)).stdout
    assert "if resolution grows as planned" in text and "(Nyquist)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of"),
        (["empiar-10028", "--table", "x.yaml"], "give one of"),
        (["nowhere"], "no claim is about 'nowhere'"),
        (["empiar-10288"], "differ only in their number of devices"),
        (["empiar-10028", "--plot", "a.gif"], "pictures are written as"),
    ],
)
def test_bad_input_is_one_sentence(cryorepro: Command, home: Path, arguments: list[str], message: str) -> None:
    done = cryorepro("scaling", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
