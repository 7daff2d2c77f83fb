"""``cryorepro plan``: the published totals, per-stage tables, runs, bounds that cannot be met, bad input."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
TIMES = str(Path(__file__).resolve().parents[1] / "compare" / "planning" / "stages.yaml")


def test_the_published_totals_are_printed_and_what_cannot_be_checked_is_said(cryorepro: Command, home: Path) -> None:
    done = cryorepro("plan", "empiar-10288", "--objective", "cost", "--deadline", "4h")
    assert done.returncode == 0, done.stderr
    for time, cost in (("2.79 h", "$91.40"), ("4.8 h", "$37.60"), ("3.4 h", "$83.00")):
        (row,) = [line for line in done.stdout.splitlines() if f" {time} " in line and cost in line]
        assert row.split()[-1] == "yes"
    text = " ".join(done.stdout.split())
    assert "cannot be checked: run time of every stage" in text
    assert "cells are empty" in text
    assert "cannot be checked: 4.29 h on mixed instances, Configuration 1: no cost was published" in text


@pytest.mark.parametrize(
    ("day", "machine", "usd"),
    [("2021-05-10", "p3.16xlarge", 3.4 * 24.48), ("2026-01-01", "p4d.24xlarge", 2.79 * 21.957642)],
)
def test_the_cheapest_within_four_hours_depends_on_the_prices_of_the_day(
    cryorepro: Command, home: Path, day: str, machine: str, usd: float
) -> None:
    done = cryorepro("plan", "empiar-10288", "--deadline", "4h", "--prices-on", day, "--json")
    plan = json.loads(done.stdout)["plan"]
    assert plan["machines"] == [machine]
    assert plan["usd"] == pytest.approx(usd)


def test_a_deadline_that_nothing_keeps_is_exit_code_1(cryorepro: Command, home: Path) -> None:
    done = cryorepro("plan", "empiar-10288", "--objective", "cost", "--deadline", "2h30m")
    assert done.returncode == 1
    assert "NO PLAN is the cheapest within 2.50 h" in done.stdout


def test_stage_by_stage_a_mixture_is_held_against_single_machines(
    cryorepro: Command, home: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "front.svg"
    options = (
        "plan",
        "empiar-10288",
        "--times",
        TIMES,
        "--deadline",
        "4h",
        "--boot",
        "5min",
        "--prices-on",
        "2024-01-01",
    )
    done = cryorepro(*options, "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    record = json.loads(cryorepro(*options, "--json").stdout)
    singles = {plan["machines"][0]: plan for plan in record["single_machines"]}
    assert set(singles) == {"g4dn.xlarge", "g4dn.metal", "p3.16xlarge"}
    assert all(record["plan"]["usd"] <= plan["usd"] for plan in singles.values() if plan["hours"] <= 4)
    assert len(record["plan"]["machines"]) > 1
    assert "ONE MACHINE for everything" in done.stdout
    assert "the plan against g4dn.metal: $" in done.stdout
    text = picture.read_text()
    assert "deadline" in text and "not beaten by any plan" in text and "g4dn.metal" in text


def test_a_finished_run_gives_stage_times(cryorepro: Command, toy: Path) -> None:
    done = cryorepro("reproduce", "toy", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(cryorepro("runs", "--json").stdout)[0]["run_uid"]
    record = json.loads(cryorepro("show", run, "--json").stdout)
    seconds = sum(stage["usage"]["wall_seconds"] for stage in record["stages"].values())
    found = json.loads(cryorepro("plan", "toy", "--from-run", f"{run}=c5n.9xlarge", "--json").stdout)
    assert found["plan"]["hours"] == pytest.approx(seconds / 3600)
    assert found["plan"]["usd"] == pytest.approx(seconds / 3600 * 1.944)
    wrong = cryorepro("plan", "empiar-10028", "--from-run", f"{run}=c5n.9xlarge")
    assert wrong.returncode == 2 and "is of benchmark 'toy'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nothing is published about 'nowhere'"),
        (["empiar-10338"], "names a machine that can be rented"),
        (["empiar-10288", "--deadline", "soon"], "--deadline: 'soon' is no duration"),
        (["empiar-10288", "--deadline", "-4h"], "no duration"),
        (["empiar-10288", "--spot-price", "g5.xlarge"], "must read NAME=VALUE"),
        (["empiar-10288", "--spot-price", "g5.xlarge=nan"], "must be above zero"),
        (["empiar-10288", "--storage", "tape"], "no storage is called 'tape'"),
        (["empiar-10288", "--region", "mars-1"], "in mars-1 is known"),
        (["empiar-10288", "--times", "/nowhere.yaml"], "/nowhere.yaml"),
        (["empiar-10288", "--from-run", "latest"], "must read NAME=VALUE"),
        (["empiar-10288", "--plot", "front.gif"], "pictures are written as"),
    ],
)
def test_bad_input_is_one_sentence(cryorepro: Command, home: Path, arguments: list[str], message: str) -> None:
    done = cryorepro("plan", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
