"""Samples read, kept in a run's file, summed up and drawn."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.report.timeline_plot import plot_timeline
from cryorepro.workflow.timeline import archive
from cryorepro.workflow.timeline.columns import COLUMNS, GPU_COLUMNS
from cryorepro.workflow.timeline.kernel import Group
from cryorepro.workflow.timeline.perturbed import Flag
from cryorepro.workflow.timeline.series import read_samples
from cryorepro.workflow.timeline.summary import integral, summarise
from tests.plugins.showing import write
from tests.workflow.timeline.shown import quiet


def written(path: Path, rows: int, cards: int = 1, ended: bool = True) -> Path:
    header = {
        "version": 1, "started_at": 5.0, "period_s": 1.0, "cores": 2, "columns": list(COLUMNS),
        "gpu_columns": list(GPU_COLUMNS), "gpus": ["GPU"] * cards,
    }  # fmt: skip
    lines = [json.dumps(header)]
    for row in range(rows):
        lines.append(json.dumps([float(row)] * len(COLUMNS) + [[[row] * len(GPU_COLUMNS) for _ in range(cards)]]))
    path.write_text("\n".join([*lines, *(['{"ended_at": 9.0}'] if ended else [])]) + "\n")
    return path


def test_samples_are_read_and_a_line_cut_off_ends_them(tmp_path: Path) -> None:
    path = written(tmp_path / "timeline.jsonl", 5)
    timeline = read_samples(path, "s", 1)
    assert timeline is not None
    assert (len(timeline), timeline.ended, timeline.gpus[0]["load"]) == (5, True, [0, 1, 2, 3, 4])
    whole = path.read_text()
    path.write_text(whole[: whole.rindex("[4.0") + 20])
    cut = read_samples(path, "s", 1)
    assert cut is not None
    assert (len(cut), cut.ended) == (4, False)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000))
def test_a_file_cut_off_anywhere_is_read_as_far_as_it_goes(length: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = written(Path(directory) / "timeline.jsonl", 5)
        path.write_bytes(path.read_bytes()[:length])
        timeline = read_samples(path, "s", 1)
        assert timeline is None or len(timeline) <= 5


def test_another_version_and_a_missing_file(tmp_path: Path) -> None:
    path = written(tmp_path / "timeline.jsonl", 1)
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(InputError, match="version 99"):
        read_samples(path, "s", 1)
    assert read_samples(tmp_path / "none", "s", 1) is None


def test_a_runs_file_gives_back_what_was_put_in_and_an_attempt_put_in_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / archive.FILE
    first, second = quiet(1, gpus=2), quiet(2, samples=30)
    second.stage, second.started_at = "t", 100.0
    for timeline in (second, first, first):
        archive.add(path, timeline)
    assert archive.load(path) == [first, second]
    with sqlite3.connect(path) as database:
        (count,) = database.execute("SELECT count(*) FROM samples WHERE stage = 's'").fetchone()
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert count == len(first)


def test_a_file_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / archive.FILE
    with pytest.raises(InputError, match="no timeline"):
        archive.load(path)
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="not a timeline"):
        archive.load(path)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE x (y)")
    with pytest.raises(InputError, match="version 0"):
        archive.load(path)


def test_energy_is_the_integral_of_power_and_a_cards_counter_where_there_is_one() -> None:
    timeline = quiet(gpus=2)
    timeline.gpus[1]["energy_joules"] = [None] * len(timeline)
    summary = summarise(timeline, 60.0)
    span = timeline.seconds[-1] - timeline.seconds[0]
    assert summary["energy_joules"]["packages"] == pytest.approx(120.0 * span, rel=1e-4)
    assert summary["gpus"][0]["energy_joules"] == pytest.approx(600.0 * 59)
    assert summary["gpus"][1]["energy_joules"] == pytest.approx(600.0 * span, rel=1e-4)
    timeline.gpus[1]["watts"] = [None] * len(timeline)
    assert summarise(timeline, 60.0)["energy_joules"]["gpus"] is None, "half an energy is none"


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 1000)), min_size=2, max_size=30))
def test_the_integral_is_numpys(points: list[tuple[float, float]]) -> None:
    seconds = list(np.cumsum([step for step, _ in points]))
    values = [value for _, value in points]
    assert integral(seconds, list(values)) == pytest.approx(float(np.trapezoid(values, seconds)))


def test_the_drawing_names_stages_and_reasons(tmp_path: Path) -> None:
    first, second = quiet(gpus=1), quiet(3, gpus=1)
    first.stage, second.stage, second.started_at = "extract", "refine3d", 70.0
    path = tmp_path / "t.svg"
    plot_timeline([first, second], path, "a run", [("refine3d", Flag("quota", "stopped 30% of the time"))])
    text = path.read_text()
    ElementTree.fromstring(text)
    for words in ("extract", "refine3d", "quota", "cores in use", "GPU power"):
        assert f"<!-- {words}" in text or f"{words}" in text


def test_a_control_groups_stops_and_limits_are_counted(tmp_path: Path) -> None:
    one = write(tmp_path / "v1", {
        "proc/self/cgroup": "3:cpu,cpuacct:/job\n4:memory:/job\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 2500000000\n",
        "sys/fs/cgroup/memory/job/memory.failcnt": "17\n",
    })  # fmt: skip
    two = write(tmp_path / "v2", {
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/cpu.stat": "usage_usec 1\nnr_throttled 4\nthrottled_usec 2500000\n",
        "sys/fs/cgroup/job/memory.events": "low 0\nhigh 5\nmax 12\noom 0\noom_kill 0\n",
    })  # fmt: skip
    for root in (one, two):
        group = Group(str(root))
        assert (group.stopped_seconds(), group.limit_hits()) == (2.5, 17.0)
    nothing = Group(str(tmp_path))
    assert (nothing.stopped_seconds(), nothing.limit_hits()) == (None, None)
