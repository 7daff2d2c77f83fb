"""``cryorepro bench`` at its smallest, and two records beside each other."""

from __future__ import annotations

import json
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
    ],
)
def test_what_cannot_be_measured_is_one_sentence(cryorepro: Command, arguments: tuple[str, ...]) -> None:
    done = cryorepro("bench", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("cryorepro: ")
    assert len(done.stderr.strip().splitlines()) == 1
