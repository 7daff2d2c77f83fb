"""The example package as a stranger would use it: installed with pip, listed, diagnosed, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "example-plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example package, put there by pip from its own pyproject."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--no-build-isolation", "--no-index", "--target", str(target), str(EXAMPLE)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def example(installed: Path, site: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line beside the installed example."""
    environment = site.environment
    paths = os.pathsep.join([str(installed), environment()["PYTHONPATH"]])
    home = str(site.path.parent / "store")
    monkeypatch.setattr(
        site, "environment", lambda **more: environment() | {"PYTHONPATH": paths, "CRYOREPRO_HOME": home} | more
    )
    return site


def test_it_is_listed_with_its_distribution(example: Any) -> None:
    listing = example.json("plugins", "list")
    (plugin,) = (row for row in listing["plugins"] if row["name"] == "example")
    assert (plugin["distribution"], plugin["version"], plugin["api"]) == ("cryorepro-example", "0.1.0", "1")
    assert len(plugin["record_sha256"]) == 64
    assert plugin["contributes"] == {
        "datasets": ["example-ball"],
        "runners": ["example-threshold"],
        "probes": ["example-entropy"],
        "metrics": ["example_mask_voxels"],
        "specs": ["example-ball"],
    }


def test_it_is_diagnosed_as_working(example: Any) -> None:
    done = example.run("plugins", "doctor", "--deep", "--json", CRYOREPRO_DISABLE_PLUGINS=",".join(example.first_party))
    diagnoses = json.loads(done.stdout)["diagnoses"]
    assert [(row["distribution"], row["status"]) for row in diagnoses] == [("cryorepro-example", "ok")] * 5
    assert done.returncode == 0


def test_its_benchmark_runs_to_a_verdict_with_its_own_probe_recorded(example: Any) -> None:
    done = example.run("reproduce", "example-ball", "--json", "--threads", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    result = next(row for row in map(json.loads, reversed(done.stdout.splitlines())) if row["event"] == "result")
    assert result["status"] == "completed"
    seen = example.json("show", result["run"])
    # Counted in integers, apart from the example's own arithmetic.
    side = range(-16, 16)
    inside = sum(x * x + y * y + z * z < 64 for x in side for y in side for z in side)
    assert seen["outcomes"]["volume"]["value"]["value"] == inside
    assert result["verdict"] == "within-band-n1"
    (probe,) = (row for row in seen["fingerprint"] if row["name"] == "example-entropy")
    assert probe["status"] == "ok"
    assert probe["plugin"] == "example (cryorepro-example 0.1.0)"


def test_a_parameter_it_cannot_honour_is_one_sentence(example: Any) -> None:
    done = example.run("reproduce", "example-ball", "--set", "mask.extend_px=3")
    assert done.returncode != 0
    assert "example-threshold cannot do extend_px" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_its_own_conformance_tests_pass(installed: Path) -> None:
    paths = os.pathsep.join([str(installed), str(ROOT), str(ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE / "tests"),
         "-c", os.devnull, str(EXAMPLE / "tests")],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, cwd=installed, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


class _Broken:
    """Runners that a conformance kit must find out."""

    base = """
from pathlib import Path
from cryorepro_example.runner import ThresholdRunner, MASK
from cryorepro.model.stage import StageResult
from test_conformance import TestThreshold as _T
class Believes(ThresholdRunner):
    def collect(self, request, log): return StageResult(outputs={"mask": MASK})
class Writes(ThresholdRunner):
    def plan(self, request):
        (request.output_dir / "note").write_text("x")
        return super().plan(request)
class Nameless(ThresholdRunner):
    def version(self): return {}
"""


@pytest.mark.parametrize(
    ("runner", "sentence"),
    [
        ("Believes", "nothing was written, and collect() raised no StageFailure"),
        ("Believes", "was cut to half its length, and collect() raised no StageFailure"),
        ("Writes", "planning wrote files"),
        ("Nameless", "version() must give name and version"),
    ],
)
def test_the_kit_finds_out_a_runner_that(installed: Path, tmp_path: Path, runner: str, sentence: str) -> None:
    source = _Broken.base + f"class TestIt(_T):\n    def runner(self): return {runner}()\ndel _T\n"
    (tmp_path / "test_broken.py").write_text(source)
    paths = os.pathsep.join([str(installed), str(EXAMPLE / "tests"), str(ROOT), str(ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert sentence in done.stdout
