"""What the classification benchmarks make of processes, logs and assignments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine.class3d_jobs import Job, share_done
from benchmarks.engine.metered import Metered, run_metered
from benchmarks.engine.scaling import PARTS, Point, clock_counts, fit, iteration_counts, run_counts
from benchmarks.engine.truth import best_names

_BUSY = """
import pathlib, subprocess, sys, time
def spin(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds: pass
for number, seconds in enumerate((0.05, 0.2, 0.4)):
    spin(seconds)
    pathlib.Path(f"mark{number}").touch()
    time.sleep(0.1)
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
"""


def test_a_process_is_charged_for_its_children_and_each_iteration_for_itself(tmp_path: Path) -> None:
    marks = {number: tmp_path / f"mark{number}" for number in range(3)}
    found = run_metered([sys.executable, "-c", _BUSY], tmp_path, marks, {}, tmp_path / "log.txt")
    each = found.per_iteration()
    assert found.complete and set(each) == {1, 2}
    assert each[1][1] == pytest.approx(0.2, abs=0.1) and each[2][1] == pytest.approx(0.4, abs=0.15)
    assert found.cpu_seconds >= 0.05 + 0.2 + 0.4 + 0.3 and found.wall_seconds > 0.9


def test_a_command_that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such particle"):
        run_metered([sys.executable, "-c", "raise SystemExit('no such particle')"], tmp_path, {}, {}, tmp_path / "log")


def test_a_stopped_run_is_carried_on_by_the_share_its_progress_bar_had_reached(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(
        '4.3/4.3 min ...\r Expectation iteration 2 of 5\n000/??? sec ~~(,_,">\r1.0/10.0 min .~~\r2.5/10.0 min ..~~'
    )
    assert share_done(log) == pytest.approx(0.25)
    stopped = Metered(cpu_seconds=60.0, iterations=[(1, 30.0, 10.0)], share_of_next=0.25)
    number, cpu = stopped.estimated_next() or (0, 0.0)
    assert number == 2 and cpu == pytest.approx(200.0)
    log.write_text("Expectation iteration 2 of 5\n000/??? sec ~~")
    assert share_done(log) == 0.0 and Metered(iterations=[(1, 0.0, 0.0)]).estimated_next() is None


def test_classes_take_the_names_under_which_most_particles_agree() -> None:
    true = np.array([0, 0, 0, 1, 1, 2])
    names, accuracy = best_names(np.array([2, 2, 1, 0, 0, 1]), true, 3)
    assert list(names) == [1, 2, 0]
    assert accuracy == pytest.approx(5.0 / 6.0)


def test_the_cost_model_finds_the_factors_that_made_the_costs() -> None:
    jobs = [
        Job(n, box, classes=k, processes=p)
        for n in (200, 900, 3000)
        for box in (64, 128)
        for k in (1, 4)
        for p in (1, 2)
    ]
    # sizes that do not follow the box alone, as resolutions do not
    points = [Point(j, (j.box_px // 6, j.box_px // 4 - j.classes, j.box_px // 3), 0.0, 0.0) for j in jobs]
    factors = np.array([1.8, 2e-11, 1e-6, 3e-6, 3e-8, 2e-7])
    for counted in (run_counts, clock_counts):
        matrix = np.stack([counted(point) for point in points])
        assert matrix.shape == (len(jobs), len(PARTS))
        np.testing.assert_allclose(fit(matrix, matrix @ factors), factors, rtol=1e-6)


def test_counts_of_the_coarse_pass_are_relions_samples() -> None:
    """Order 2 with 21 shifts: RELION prints 4608 orientations and a coarse image of 26 pixels for this diameter."""
    late, second = (iteration_counts(Job(particles=1), number, 32)[1] for number in (3, 2))
    assert late == pytest.approx(3 * 4608 * 21 * np.pi / 2 * 13**2)
    # with a random class for each particle one class is looked at
    assert second == pytest.approx(late / 3)


def test_the_clock_sees_what_the_workers_share() -> None:
    alone, shared = (Point(Job(threads=n), (20, 30, 32), 0.0, 0.0) for n in (1, 2))
    cores = min(2, os.cpu_count() or 1)
    np.testing.assert_allclose(clock_counts(alone)[1:] / clock_counts(shared)[1:], cores)
    assert clock_counts(alone)[0] == clock_counts(shared)[0] == 1.0
