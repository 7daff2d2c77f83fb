"""``cryorepro bench`` at its smallest, and two records beside each other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryorepro.model.bench import BenchRecord
from tests.conftest import Command


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def test_all_three_groups_are_measured_and_nothing_is_left_behind(cryorepro: Command, places: Path) -> None:
    (places / "cache").mkdir()
    done = cryorepro(
        "bench", "all", "--size", "tiny", "--directory", str(places), "--cache-directory", str(places / "cache"),
        "-o", str(places / "a.json"), "--csv", str(places / "a.csv"), "--cryosparc", str(places / "c.json"),
        "--title", "a machine", "--device", "cpu", "--repeats", "3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = BenchRecord.model_validate_json((places / "a.json").read_text())
    assert {test.group for test in record.tests} == {"fs", "cpu", "gpu"}
    assert sum(test.name.startswith("engine_") for test in record.tests) == 14
    assert record.skipped == {}
    assert record.calibration is not None
    assert record.fingerprint
    assert all(test.stop is not None for test in record.tests)
    assert len((places / "a.csv").read_text().splitlines()) == 1 + len(record.tests)
    assert [part["type"] for part in json.loads((places / "c.json").read_text())] == ["fs", "cpu", "gpu"]
    assert "repeatability" in done.stdout
    left = sorted(path.name for path in places.rglob("*") if path.is_file())
    assert left == ["a.csv", "a.json", "c.json"], "files made for the measurement are removed"
    assert str(places) not in (places / "a.json").read_text(), "no path is in the record"


def test_records_are_compared_and_checked(cryorepro: Command, places: Path) -> None:
    record = BenchRecord.model_validate_json((places / "a.json").read_text())
    halved = [
        test.model_copy(
            update={"seconds": tuple(s / 2 for s in test.seconds), "median_seconds": test.median_seconds / 2}
        )
        for test in record.tests
    ]
    other = record.model_copy(update={"tests": tuple(halved), "title": "b machine"})
    (places / "b.json").write_text(other.model_dump_json())
    done = cryorepro("bench", "compare", str(places / "a.json"), str(places / "b.json"), "--details", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {round(row["cells"][1]["speed_up"], 3) for row in rows} == {2.0}
    shown = cryorepro("bench", "compare", str(places / "a.json"), str(places / "b.json"), "--details")
    assert "x2.00" in shown.stdout
    assert "project" in shown.stdout
    assert "marg" in shown.stdout.replace("_marg_", ""), "tags are words of their own"
    checked = cryorepro("bench", "check", str(places / "a.json"))
    assert (checked.returncode, "file's name" in checked.stdout) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fs", "--size", "huge"),
        ("fs", "--directory", "/nowhere"),
        ("gpu", "--device", "quantum"),
        ("compare", "missing.json", "missing.json"),
        ("compare", "no-such-reference", "no-such-reference"),
        ("compare", "/dev/zero", "/dev/zero"),
        ("cpu", "-o", "/nowhere/a.json"),
        ("cpu", "--csv", "/proc/a.csv"),
        ("cpu", "--threads", "100000"),
        ("cpu", "--spread", "nan"),
        ("cpu", "--spread", "-1"),
        ("cpu", "--limit", "inf"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(cryorepro: Command, arguments: tuple[str, ...]) -> None:
    done = cryorepro("bench", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("cryorepro: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_one_that_is_asked_to_end_leaves_no_files_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cryorepro", "bench", "fs", "--directory", str(tmp_path), "--limit", "60"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.tif")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_cryosparcs_names_and_the_registrys_example_lie_beside_ours(cryorepro: Command, places: Path) -> None:
    done = cryorepro(
        "bench", "compare", "cryosparc-example-gtx-1080-ti", str(places / "c.json"), str(places / "a.json"), "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = {row["test"]: [cell["standing"] for cell in row["cells"]] for row in json.loads(done.stdout)["rows"]}
    assert rows["fsc_spherical.put_mapr_on_gpu"] == ["reference", "absent", "absent"]
    assert rows["fsc_spherical.total"] == ["absent", "not-comparable", "absent"]
    assert {standing for cells in rows.values() for standing in cells} == {"reference", "absent", "not-comparable"}


def test_only_the_tests_that_were_named_are_carried_out(cryorepro: Command, tmp_path: Path) -> None:
    done = cryorepro(
        "bench", "all", "--size", "tiny", "--directory", str(tmp_path), "--json", "--repeats", "1",
        "--only", "fs_particles_*", "--only", "gemm", "--only", "engine_A_*",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = [test["name"] for test in json.loads(done.stdout)["tests"]]
    assert names == [
        "fs_particles_sequential", "fs_particles_random", "fs_particles_direct", "gemm",
        "engine_A_disk_single_linear10_max_C1",
    ]  # fmt: skip
    none = cryorepro("bench", "cpu", "--size", "tiny", "--directory", str(tmp_path), "--only", "nothing")
    assert (none.returncode, "no test of cpu is called so" in none.stderr) == (2, True)
