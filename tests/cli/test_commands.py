"""The commands a person types first: quick, light, and saying what is there."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from cryorepro.model.shipped import shipped

Command = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "scipy", "matplotlib", "gemmi", "sqlite_utils")
LIGHT_COMMANDS = (["--help"], ["list"], ["list", "metrics"], ["plugins", "list"], ["show", "empiar-10028"])


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS)
def test_looking_around_imports_nothing_heavy(arguments: list[str], home: Path) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['cryorepro', *{arguments!r}]\n"
        "try:\n    runpy.run_module('cryorepro', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n"), done.stdout[-300:]


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["plugins", "list"]])
def test_looking_around_takes_half_a_second(arguments: list[str], home: Path) -> None:
    """Processor time, best of three: wall time on a busy machine would say something about its neighbours."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cryorepro", *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5, times


def test_every_shipped_benchmark_is_valid_and_fits_the_schema(cryorepro: Command, home: Path) -> None:
    files = sorted(shipped("specs").glob("*.yaml"))
    assert len(files) >= 2
    done = cryorepro("validate", *map(str, files))
    assert done.returncode == 0, done.stderr
    schema = json.loads(cryorepro("schema").stdout)
    for path in files:
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_the_schema_in_the_docs_is_the_programs(cryorepro: Command) -> None:
    assert json.loads((ROOT / "docs" / "benchmark.schema.json").read_text()) == json.loads(cryorepro("schema").stdout)


def test_the_canonical_job_is_there_to_the_letter(cryorepro: Command, home: Path) -> None:
    """The options of the published command, read back from what ``show`` prints."""
    content = json.loads(cryorepro("show", "empiar-10028", "--json").stdout)
    words = content["canonical_command"].split()
    published = {
        word.lstrip("-"): words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("--") else True
        for i, word in enumerate(words)
        if word.startswith("--")
    }
    parameters = content["stages"][0]["parameters"]
    named = {
        "K": "number_of_classes", "iter": "iterations", "tau2_fudge": "tau2_fudge", "ini_high": "ini_high_angstrom",
        "particle_diameter": "particle_diameter_angstrom", "healpix_order": "healpix_order",
        "oversampling": "oversampling", "offset_range": "offset_range_px", "offset_step": "offset_step_px",
    }  # fmt: skip
    for option, name in named.items():
        assert float(published.pop(option)) == parameters.pop(name), option
    assert published.pop("sym") == parameters.pop("symmetry")
    for flag in ("firstiter_cc", "ctf", "ctf_corrected_ref", "flatten_solvent", "zero_mask", "norm", "scale"):
        assert published.pop(flag) is True
        assert parameters.pop(flag) is True
    assert parameters == {}
    departures = {departure["option"].split()[0].lstrip("-") for departure in content["departures"]}
    assert set(published) - {"i", "ref", "o"} == departures == {"random_seed"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "empiar-1028"], "did you mean"),
        (["reproduce", "empiar-10028", "--runner", "reliom"], "did you mean relion"),
        (["reproduce", "empiar-10028", "--runner", "refine3d=relion"], "has no stage 'refine3d'"),
        (["reproduce", "empiar-10028", "--set", "class3d.iterations=0"], "parameter 'iterations'"),
        (["reproduce", "empiar-10028", "--set", "class3d.colour=red"], "parameter 'colour'"),
        (["reproduce", "empiar-10028", "--tier", "half"], "the tiers are twin, subset and full"),
        (["reproduce", "nowhere/spec.yaml"], "no such file"),
        (["reproduce", "empiar-10146", "--data", "/nowhere"], "no such file or directory"),
        (["show", "20990101"], "no run is called"),
        (["resume", "latest"], "no run is called"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_exit_code_2(
    cryorepro: Command, home: Path, arguments: list[str], words: str
) -> None:
    done = cryorepro(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(home.glob("runs/*"))


@pytest.mark.usefixtures("toy")
def test_comparing_two_runs_shows_what_differs(cryorepro: Command, toy: Path) -> None:
    assert cryorepro("reproduce", "toy", "--seed", "1").returncode == 0
    assert cryorepro("reproduce", "toy", "--seed", "2", "--set", "sum.steps=20").returncode == 0
    first, second = sorted(path.name for path in (toy / "runs").iterdir())
    content = json.loads(cryorepro("compare", first, second, "--json").stdout)
    assert content["settings"] == [["seed", 1, 2]]
    assert content["parameters"] == [["sum.steps", 10, 20]]
    assert content["data"] == []
    assert content["outcomes"][0]["difference"] == 0
    wall = content["stages"][0]["wall_seconds"]
    assert content["stages"][0]["wall_ratio"] == pytest.approx(wall[0] / wall[1])
    shown = cryorepro("compare", first, second)
    assert shown.returncode == 0
    assert "sum.steps" in shown.stdout


@pytest.mark.usefixtures("toy")
def test_a_run_leaves_as_json(cryorepro: Command, toy: Path, tmp_path: Path) -> None:
    assert cryorepro("reproduce", "toy").returncode == 0
    target = tmp_path / "run.json"
    assert cryorepro("export", "latest", "-o", str(target)).returncode == 0
    shown = json.loads(cryorepro("show", "latest", "--json").stdout)
    # what the other runs of this store say of its noise is the store's, not the run's
    assert shown.pop("noise")["replicates"] == 1
    assert json.loads(target.read_text()) == shown
    again = cryorepro("export", "latest", "-o", str(target))
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_the_wheel_works_from_anywhere(tmp_path: Path, home: Path) -> None:
    """Built, unpacked into an empty directory, used from another one: specs, registry and plugins are inside."""
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*install, str(next(wheels.glob("*.whl")))], check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "cryorepro", *arguments]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-P", "-c", "import cryorepro; print(cryorepro.__file__)"]
    found = subprocess.run(where, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(site))
    listed = json.loads(run("plugins", "list", "--json"))
    assert listed["refused"] == []
    assert {plugin["name"] for plugin in listed["plugins"]} >= {"datasets", "engines", "relion", "probes", "metrics"}
    content = json.loads(run("show", "empiar-10028", "--json"))
    assert content["claims"]
    assert "published" in run("show", "empiar-10028")
    assert "class3d" in run("reproduce", "empiar-10028", "--dry-run", "--set", "data.particles=60")
