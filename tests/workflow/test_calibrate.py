"""The machine's repeatability is measured once, kept, and measured anew when what decides it has changed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cryorepro.model.bench import RunCalibration
from cryorepro.store.errors import StoreError
from cryorepro.workflow import calibrate as module
from cryorepro.workflow.bench.calibrate import calibrate
from cryorepro.workflow.bench.noise import smallest_visible
from cryorepro.workflow.calibrate import load, machine_key, repeatability

PROBES: list[dict[str, Any]] = [
    {"name": "cpu", "data": {"model": "EPYC 7543", "cgroup_quota_cores": None, "load_average_1_5_15_min": [1, 1, 1]}},
    {"name": "memory", "data": {"usable_bytes": 10**9, "available_bytes": 10**8}},
]


def changed(probe: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**one, "data": {**one["data"], **fields}} if place == probe else one for place, one in enumerate(PROBES)]


def test_the_key_is_of_what_decides_repeatability_and_not_of_the_moment() -> None:
    key = machine_key(PROBES, 2, 20.0)
    assert machine_key(changed(0, load_average_1_5_15_min=[9, 9, 9]), 2, 20.0) == key
    assert machine_key(changed(1, available_bytes=1), 2, 20.0) == key
    others = {
        machine_key(changed(0, cgroup_quota_cores=1.5), 2, 20.0), machine_key(changed(0, model="Xeon"), 2, 20.0),
        machine_key(changed(1, usable_bytes=1), 2, 20.0), machine_key(PROBES, 4, 20.0), machine_key(PROBES, 2, 5.0),
        machine_key([], 2, 20.0),
    }  # fmt: skip
    assert len(others | {key}) == 7


def test_what_was_measured_is_kept_and_said_to_be_kept(tmp_path: Path) -> None:
    first = repeatability(tmp_path / "calibrations", "k", 0.3, 1)
    assert first.measured_for_this_run
    assert first.blocks >= 5
    assert first.smallest_visible_once is not None
    assert first.smallest_visible_once >= first.smallest_visible
    again = repeatability(tmp_path / "calibrations", "k", 0.3, 1)
    assert again == first.model_copy(update={"measured_for_this_run": False})
    assert repeatability(tmp_path / "calibrations", "other", 0.3, 1).measured_for_this_run


def kept(folder: Path, **changes: Any) -> RunCalibration | None:
    measured = calibrate(0.05)
    assert measured is not None
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = {"key": "k", "measured_at": now, "measured_for_this_run": True} | changes
    folder.joinpath("k.json").write_text(json.dumps({**measured.model_dump(), **fields}))
    return load(folder, "k")


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_what_is_old_disturbed_or_damaged_is_not_taken(tmp_path: Path) -> None:
    assert kept(tmp_path) is not None
    assert kept(tmp_path, measured_at=ago(days=6)) is not None
    assert kept(tmp_path, measured_at=ago(days=8)) is None
    assert kept(tmp_path, measured_at=ago(days=-1)) is None, "by a clock that was wrong"
    assert kept(tmp_path, perturbed=["co-tenants"], measured_at=ago(minutes=30)) is not None
    assert kept(tmp_path, perturbed=["co-tenants"], measured_at=ago(hours=2)) is None
    assert kept(tmp_path, key="another") is None
    for text in ("", "{", "[]", '{"seconds": 1}', "\x00\xff", '{"measured_at": "yesterday"}'):
        (tmp_path / "k.json").write_text(text)
        assert load(tmp_path, "k") is None


def test_a_store_that_cannot_be_written_costs_only_the_keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    assert repeatability(tmp_path / "file", "k", 0.05, 1).measured_for_this_run

    def full(path: Path, content: bytes) -> None:
        raise StoreError(f"cannot write {path}: no space left")

    monkeypatch.setattr(module, "write_atomically", full)
    assert repeatability(tmp_path / "folder", "k", 0.05, 1).measured_for_this_run
    assert load(tmp_path / "folder", "k") is None


def test_of_two_at_once_one_measures_and_the_other_takes_it_over(tmp_path: Path) -> None:
    results = [tmp_path / f"{number}.result" for number in range(2)]
    jobs = [
        {"folder": str(tmp_path / "c"), "key": "k", "seconds": 1.0, "threads": 1, "result": str(r)} for r in results
    ]
    running = []
    for number, job in enumerate(jobs):
        (tmp_path / f"{number}.json").write_text(json.dumps(job))
        command = [sys.executable, "-m", "cryorepro.workflow.calibrate", str(tmp_path / f"{number}.json")]
        running.append(subprocess.Popen(command))
    assert [process.wait(60) for process in running] == [0, 0]
    found = [json.loads(result.read_text()) for result in results]
    assert sorted(one["measured_for_this_run"] for one in found) == [False, True]
    assert found[0]["median_block_seconds"] == found[1]["median_block_seconds"]


def test_single_times_show_less_than_medians_of_five() -> None:
    """Of normal noise with deviation s, two single values differ by more than 1.96 sqrt(2) s one time in 20."""
    deviation = 0.03
    quartiles = 1.349 * deviation
    assert smallest_visible(quartiles / 2, 1) == pytest.approx(1.96 * 2**0.5 * deviation)
    assert smallest_visible(quartiles / 2, 5) == pytest.approx(1.253 * 1.96 * 2**0.5 * deviation / 5**0.5)
