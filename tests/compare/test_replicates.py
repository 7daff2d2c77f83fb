"""Replicates of a run, and what its times can be called beside another's."""

from __future__ import annotations

from typing import Any

import pytest

from cryorepro.compare.replicates import noise_of, standing

DATA = {"files": [{"role": "particles", "sha256": "0" * 64}]}


def run(name: str, wall: float, limit: float | None = 0.05, **changes: Any) -> dict[str, Any]:
    stage = {
        "runner": "relion-like", "parameters": {"iterations": 3}, "iterations": 3, "threads": 2,
        "usage": {"wall_seconds": wall}, "attempts": [{}], "perturbed": [],
    }  # fmt: skip
    probe = {
        "name": "cpu",
        "plugin": "p",
        "status": "ok",
        "seconds": 0.1,
        "data": {"model": "EPYC", "cores_logical": 2},
    }
    calibration = None if limit is None else {"smallest_visible_once": limit}
    record = {
        "run": name, "created": name, "status": "completed", "settings": {"benchmark": "b", "seed": 1, "threads": 2},
        "fingerprint": [probe], "stages": {"s": stage}, "calibration": calibration, "data": DATA,
    }  # fmt: skip
    return record | changes


def test_replicates_are_runs_of_the_same_work_on_the_same_machine() -> None:
    other_machine = [{**run("x", 1.0)["fingerprint"][0], "data": {"model": "EPYC", "cores_logical": 64}}]
    momentary = [{**other_machine[0], "data": {"model": "EPYC", "cores_logical": 2, "load_average_1_5_15_min": [1]}}]
    others = [
        run("1", 10.0), run("2", 11.0, fingerprint=momentary),
        run("4", 12.0, settings={"benchmark": "b", "seed": 7, "threads": 2}),
        run("3", 90.0, status="failed"), run("3b", 90.0, fingerprint=other_machine), run("3c", 90.0, fingerprint=[]),
        run("3d", 90.0, settings={"benchmark": "b", "seed": 1, "threads": 1}),
    ]  # fmt: skip
    noise = noise_of(run("5", 13.0), [*others, run("5", 13.0)])
    assert noise["runs"] == ["1", "2", "4", "5"]
    assert noise["stages"]["s"]["wall_seconds"] == [10.0, 11.0, 12.0, 13.0]
    assert noise["stages"]["s"]["median_seconds"] == 11.5
    assert noise["stages"]["s"]["interval"] == {"low": 10.0, "high": 13.0, "level": 0.875}
    assert noise["interleaving"] == "with 4 other runs of this benchmark"


def test_one_run_says_that_it_is_one() -> None:
    noise = noise_of(run("1", 10.0), [])
    assert (noise["replicates"], noise["interleaving"]) == (1, "none: one run")
    assert noise["stages"]["s"]["interval"] is None


def test_a_resumed_stage_is_no_time_of_one_go() -> None:
    resumed = run("2", 99.0)
    resumed["stages"]["s"]["attempts"] = [{}, {}]
    assert noise_of(run("1", 10.0), [resumed])["stages"]["s"]["wall_seconds"] == [10.0]


@pytest.mark.parametrize(
    ("wall", "limits", "word"),
    [
        (10.3, (0.05, 0.05), "within-noise"),
        (10.3, (0.01, 0.01), "slower"),
        (9.0, (0.05, 0.02), "faster"),
        (9.0, (0.05, 0.2), "within-noise"),
        (9.0, (0.05, None), "no-calibration"),
        (9.0, (None, None), "no-calibration"),
    ],
)
def test_a_difference_is_one_only_beyond_both_machines_noise(
    wall: float, limits: tuple[float | None, float | None], word: str
) -> None:
    assert standing(run("1", 10.0, limits[0]), run("2", wall, limits[1]), "s") == word


def test_other_work_is_no_faster_and_no_slower() -> None:
    fewer = run("2", 1.0)
    fewer["stages"]["s"]["iterations"] = 2
    other_data = run("2", 1.0, data={"files": [{"role": "particles", "sha256": "1" * 64}]})
    assert standing(run("1", 10.0), fewer, "s") == "other-work"
    assert standing(run("1", 10.0), other_data, "s") == "other-work"
    assert standing(run("1", 10.0), run("2", 1.0, stages={}), "s") is None
