"""Benchmark records side by side, as files, and as contributions."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cryorepro.compare.bench import compare_bench
from cryorepro.compare.bench_check import check_contribution, check_registered
from cryorepro.compare.bench_cryosparc import from_cryosparc, to_cryosparc
from cryorepro.compare.bench_files import as_csv, load_bench
from cryorepro.em.errors import InputError
from cryorepro.model.bench import BenchRecord, BenchTest, Calibration
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.workflow.bench.noise import median_interval


def timed(name: str, *seconds: float, group: Any = "gpu", **changes: Any) -> BenchTest:
    middle = sorted(seconds)[len(seconds) // 2]
    fields: dict[str, Any] = {
        "workload": {"box_px": 96, "threads": 2},
        "device": "cpu",
        "sub_seconds": {"project": 0.1},
    }
    return BenchTest(
        name=name, group=group, seconds=seconds, median_seconds=middle, interval=median_interval(seconds),
        **(fields | changes),
    )  # fmt: skip


def record(*tests: BenchTest, visible: float = 0.02, **changes: Any) -> BenchRecord:
    noise = Calibration(
        seconds=20, blocks=900, median_block_seconds=0.02, spread=0.01, drift=0.0, smallest_visible=visible
    )
    probe = ProbeResult(name="cpu", plugin="p", status="ok", seconds=0.1, data={"model": "EPYC 7543"})
    fields: dict[str, Any] = {"title": "EPYC 7543, A100", "calibration": noise, "fingerprint": (probe,)}
    return BenchRecord(created_at="2026-11-20T12:00:00Z", cryorepro_version="0.1.0", tests=tests, **(fields | changes))


def test_speed_up_share_and_standing() -> None:
    first = record(timed("a", 2.0, 2.01, 2.02), timed("b", 6.0, 6.01, 6.02), timed("c", 1.0, 1.01, 1.02))
    second = record(
        timed("a", 1.0, 1.01, 1.02), timed("b", 12.0, 12.1, 12.2), timed("c", 1.0, 1.015, 1.03), title="other"
    )
    rows = {row.test: row.cells for row in compare_bench([first, second], ["x", "y"]).rows}
    assert [rows[name][1].standing for name in "abc"] == ["faster", "slower", "within-noise"]
    assert rows["a"][1].speed_up == pytest.approx(2.01 / 1.01)
    assert sum(cells[0].share or 0.0 for cells in rows.values()) == pytest.approx(1.0)
    assert rows["a"][0].standing == "reference"
    swapped = {row.test: row.cells for row in compare_bench([first, second], ["x", "y"], reference=1).rows}
    assert (swapped["a"][0].speed_up or 0) * (rows["a"][1].speed_up or 0) == pytest.approx(1.0)


def test_a_noisy_machine_sees_less() -> None:
    tests = [record(timed("a", 1.0, 1.01, 1.02), visible=0.2), record(timed("a", 1.1, 1.11, 1.12), visible=0.01)]
    assert compare_bench(tests, "xy").rows[0].cells[1].standing == "within-noise"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"workload": {"box_px": 128, "threads": 2}}, "box_px 128, the reference 96"),
        ({"workload": {"threads": 2}}, "box_px None"),
    ],
)
def test_other_work_is_marked_and_gets_no_speed_up(changed: dict[str, Any], words: str) -> None:
    pair = [record(timed("a", 1.0, 1.0, 1.0)), record(timed("a", 0.1, 0.1, 0.1, **changed))]
    cell = compare_bench(pair, "xy").rows[0].cells[1]
    assert (cell.standing, cell.speed_up) == ("not-comparable", None)
    assert words in (cell.reason or "")


def test_more_threads_are_what_is_compared() -> None:
    faster = timed("a", 0.5, 0.5, 0.5, workload={"box_px": 96, "threads": 64})
    cell = compare_bench([record(timed("a", 1.0, 1.0, 1.0)), record(faster)], "xy").rows[0].cells[1]
    assert cell.speed_up == 2.0


def test_versions_sources_and_missing_tests_are_not_compared() -> None:
    first = record(timed("a", 1.0, 1.0), timed("b", 1.0, 1.0))
    newer = record(timed("a", 1.0, 1.0), schema_version=2)
    theirs = from_cryosparc({"type": "gpu", "timings": {"a": 0.5}, "cryosparc_version": "v5.0"}, "x")
    rows = {row.test: row.cells for row in compare_bench([first, newer, theirs], "xyz").rows}
    assert [cell.standing for cell in rows["a"]] == ["reference", "not-comparable", "not-comparable"]
    assert rows["a"][2].seconds == 0.5, "theirs lies beside ours"
    assert [cell.standing for cell in rows["b"]] == ["reference", "absent", "absent"]
    with pytest.raises(InputError, match="at least two"):
        compare_bench([first], "x")
    with pytest.raises(InputError, match="reference 7"):
        compare_bench([first, newer], "xy", 7)


def test_remarks_say_what_makes_a_record_doubtful() -> None:
    doubtful = record(
        timed("fs_x", 1.0, 1.0, group="fs", checks={"cached_before": 0.5}),
        timed("engine_A", 1.0, 1.0),
        perturbed=({"reason": "co-tenants", "detail": "others used 1 core"},),
        fingerprint=(ProbeResult(name="cpu", plugin="p", status="ok", seconds=0, data={"model": "Xeon"}),),
    )
    remarks = " ".join(compare_bench([record(timed("engine_A", 1.0, 1.0)), doubtful], "xy").remarks[1])
    for words in ("co-tenants", "warm cache: fs_x", "ran on the CPU", "1 of science"):
        assert words in remarks


def test_files_go_there_and_back(tmp_path: Path) -> None:
    original = record(timed("a", 1.0, 1.1, 1.2))
    path = tmp_path / "x.json"
    path.write_text(original.model_dump_json())
    assert load_bench(str(path)) == original
    (row,) = csv.DictReader(io.StringIO(as_csv(original)))
    assert (row["test"], float(row["median_seconds"]), row["repeats"]) == ("a", 1.1, "3")


def test_cryosparcs_field_names_there_and_back() -> None:
    """The names are those of PerformanceBenchmark and InstanceInformation in cryosparc-tools 5.0."""
    known = {
        "type", "title", "created_at", "cryosparc_version", "instance_information", "job_params", "timings", "gpu_name",
    }  # fmt: skip
    instance = {
        "platform_node", "platform_release", "platform_architecture", "cpu_model", "physical_cores", "max_cpu_freq",
        "total_memory", "available_memory", "ofd_soft_limit", "driver_version", "CUDA_version",
    }  # fmt: skip
    ours = record(timed("a", 1.0, 1.1, 1.2), timed("fs_b", 2.0, 2.0, 2.0, group="fs"))
    shown = to_cryosparc(ours)
    assert [part["type"] for part in shown] == ["gpu", "fs"]
    for part in shown:
        assert set(part) == known
        assert set(part["instance_information"]) == instance
        assert part["instance_information"]["platform_node"] == "", "a host name stays at home"
    back = from_cryosparc(json.loads(json.dumps(shown[0])), "x")
    assert {test.name: test.median_seconds for test in back.tests} == {"a.total": 1.1, "a.project": 0.1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"type": "extensive_validation", "timings": {}}, "type must be"),
        ({"type": "gpu", "timings": {"a": "fast"}}, "no number"),
        ({"type": "gpu", "timings": [1]}, "timings a mapping"),
        ({"tests": []}, "Field required"),
        ([], "record"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        load_bench(str(path))


def contribution(path: Path, value: BenchRecord) -> list[str]:
    path.write_text(value.model_dump_json())
    return check_contribution(path)


def test_a_sound_contribution_passes_and_each_fault_is_named(tmp_path: Path) -> None:
    good = tmp_path / "a100-epyc7543.json"
    assert contribution(good, record(timed("a", 1.0, 1.1, 1.2))) == []
    faults: dict[str, BenchRecord] = {
        "not the median": record(_cheat()),
        "title is missing": record(timed("a", 1.0, 1.1, 1.2), title=None),
        "fingerprint is missing": record(timed("a", 1.0, 1.1, 1.2), fingerprint=()),
        "perturbed": record(timed("a", 1.0, 1.1, 1.2), perturbed=({"reason": "quota", "detail": "x"},)),
        "warm cache": record(timed("a", 1.0, 1.1, 1.2, checks={"cached_before": 1.0})),
        "read nothing": record(timed("a", 1.0, 1.1, 1.2, checks={"bytes_read": 0})),
        "personal: '/home/'": record(timed("a", 1.0, 1.1, 1.2), settings={"directory": "/home/alice/x"}),
        "personal: 'a@b.org'": record(timed("a", 1.0, 1.1, 1.2), title="by a@b.org"),
        "benchmark version 9": record(timed("a", 1.0, 1.1, 1.2), schema_version=9),
    }
    for words, value in faults.items():
        (problem,) = contribution(good, value)
        assert words in problem
    assert "file's name" in contribution(tmp_path / "My Machine.json", record(timed("a", 1.0, 1.1, 1.2)))[0]


def test_the_registry_is_checked_record_by_record(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    assert check_registered(tmp_path) == (0, [])
    contribution(tmp_path / "bench" / "a100-epyc7543.json", record(timed("a", 1.0, 1.1, 1.2)))
    contribution(tmp_path / "bench" / "broken-title.json", record(timed("a", 1.0, 1.1, 1.2), title=None))
    (tmp_path / "bench" / "no-json.json").write_text("{")
    count, problems = check_registered(tmp_path)
    assert count == 3
    assert [problem.partition(":")[0].rpartition("/")[2] for problem in problems] == [
        "broken-title.json",
        "no-json.json",
    ]
    assert check_registered()[1] == [], "the shipped records pass"


def _cheat() -> BenchTest:
    return timed("a", 1.0, 1.1, 1.2).model_copy(update={"median_seconds": 0.5})
