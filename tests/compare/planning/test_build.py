"""From tables of stage times to problems: GPUs as each stage scales, jobs side by side, spot, storage."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cryorepro.compare.planning.build import Settings, build_problem, job_hours, stage_work, storage_usd_per_hour
from cryorepro.compare.planning.problem import Offer
from cryorepro.compare.planning.solve import Model, best_plan
from cryorepro.compare.planning.spot import Interruptions, expected_hours
from cryorepro.em.errors import InputError
from cryorepro.model.machines import load_machines
from cryorepro.model.stage_times import StageTime, StageTimes, TimesTable
from cryorepro.model.strict_yaml import load_record

MACHINES = load_machines()
DAY = Settings(day=date(2024, 1, 1))
TABLE = load_record(Path(__file__).with_name("stages.yaml"), TimesTable)
NODE = Offer("g4dn.metal", 7.824, 8)


def _stage(**fields: object) -> StageTimes:
    times = [StageTime(instance="g4dn.metal", gpus=gpus, seconds=s) for gpus, s in ((1, 7200), (2, 4320))]
    return StageTimes.model_validate({"name": "s", "times": times, **fields})


def test_times_that_were_not_measured_are_not_made_up() -> None:
    assert stage_work(_stage(), NODE) == stage_work(_stage(scales_to=2), NODE)
    work = stage_work(_stage(), NODE)
    assert work is not None and (work.hours, work.gpus, work.modelled) == (1.2, 2, False)
    assert job_hours(_stage(), "g4dn.metal", 8) is None
    assert stage_work(_stage(), Offer("p3.16xlarge", 24.48, 8)) is None


def test_a_stage_that_does_not_scale_takes_one_gpu() -> None:
    work = stage_work(_stage(scales_to=1), NODE)
    assert work is not None and (work.hours, work.gpus) == (2.0, 1)


@pytest.mark.parametrize("scales_to", [1, 2, 4, 8])
def test_amdahls_law_fills_in_up_to_the_number_of_gpus_the_stage_scales_to(scales_to: int) -> None:
    stage = StageTimes(
        name="s",
        times=[StageTime(instance="g4dn.metal", gpus=1, seconds=3600)],
        scales_to=scales_to,
        serial_fraction=0.1,
    )
    work = stage_work(stage, NODE)
    assert work is not None and work.gpus == scales_to
    assert work.hours == pytest.approx(0.1 + 0.9 / scales_to)
    assert work.modelled == (scales_to > 1)


def test_jobs_of_one_gpu_share_a_node_and_a_trade_is_made_between_more_jobs_and_more_gpus_each() -> None:
    for jobs in range(1, 20):
        work = stage_work(_stage(jobs=jobs), NODE)
        assert work is not None
        assert work.hours == pytest.approx(min(2.0 * math.ceil(jobs / 8), 1.2 * math.ceil(jobs / 4)))
        assert work.abreast * work.gpus <= 8


def test_single_gpu_stages_of_a_group_run_side_by_side_where_there_are_gpus() -> None:
    problem = build_problem(TABLE, MACHINES, DAY)
    names = [offer.name for offer in problem.offers]
    assert {names[o]: hours for o, hours in problem.together[2, 3].items()} == {
        "g4dn.metal": pytest.approx(5800 / 3600), "p3.16xlarge": pytest.approx(2400 / 3600),
    }  # fmt: skip
    fastest = best_plan(Model(problem), "time")
    assert fastest is not None and fastest.abreast == {(2, 3)}
    assert fastest.hours == pytest.approx((1500 + 2200 + 2400) / 3600)


def test_the_price_is_of_the_instance_and_storage_is_paid_all_the_time() -> None:
    gb = Settings(day=date(2024, 1, 1), storage="ebs-gp3", storage_gb=7300)
    assert storage_usd_per_hour(MACHINES, gb) == pytest.approx(7300 * 0.08 / 730)
    lustre = Settings(day=date(2024, 1, 1), storage="fsx-lustre-ssd-125", storage_gb=1)
    assert storage_usd_per_hour(MACHINES, lustre) == pytest.approx(1200 * 0.145 / 730)
    plain = best_plan(Model(build_problem(TABLE, MACHINES, DAY)), "time")
    paid = best_plan(Model(build_problem(TABLE, MACHINES, gb)), "time")
    assert plain is not None and paid is not None
    assert plain.usd == pytest.approx(24.48 * plain.hours)
    assert paid.usd - plain.usd == pytest.approx(0.8 * plain.hours)
    with pytest.raises(InputError, match="price of storage 'fsx-lustre-cryosparc-guide' is not known"):
        storage_usd_per_hour(MACHINES, Settings(day=date(2024, 1, 1), storage="fsx-lustre-cryosparc-guide"))


def test_spot_machines_are_offers_of_their_own_with_expected_times() -> None:
    interruptions = Interruptions(0.5, 0.25, 0.01, 0.1)
    settings = Settings(day=date(2024, 1, 1), spot_usd_per_hour={"g4dn.metal": 2.5}, interruptions=interruptions)
    problem = build_problem(TABLE, MACHINES, settings)
    names = [offer.name for offer in problem.offers]
    demand, spot = names.index("g4dn.metal"), names.index("g4dn.metal (spot)")
    assert problem.work[0, spot].hours == pytest.approx(expected_hours(problem.work[0, demand].hours, interruptions))
    cheapest = best_plan(Model(problem), "cost")
    assert cheapest is not None and cheapest.usd < best_plan(Model(build_problem(TABLE, MACHINES, DAY)), "cost").usd  # type: ignore[union-attr]


@given(st.floats(0.01, 30), st.floats(0.01, 3), st.floats(0, 0.1))
def test_without_interruptions_only_checkpoints_are_added(work: float, every: float, cost: float) -> None:
    assert expected_hours(work, Interruptions()) == work
    expected = work + (max(math.ceil(work / every - 1e-9) - 1, 0)) * cost
    assert expected_hours(work, Interruptions(0.0, every, cost, 0.2)) == pytest.approx(expected)
    assert expected_hours(work, Interruptions(1e-9, every, cost, 0.2)) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=4, deadline=None)
@given(st.sampled_from([(3.0, 0.4, None), (3.0, 0.4, 0.5), (1.7, 1.0, 0.4), (2.0, 0.2, 1.0)]))
def test_expected_times_are_those_of_simulated_interruptions(case: tuple[float, float, float | None]) -> None:
    work, rate, every = case
    interruptions = Interruptions(rate, every, 0.02, 0.15)
    rng = np.random.default_rng(11)
    runs = [_simulate(work, interruptions, rng) for _ in range(6000)]
    error = float(np.std(runs) / math.sqrt(len(runs)))
    assert abs(float(np.mean(runs)) - expected_hours(work, interruptions)) < 4 * error


def _simulate(work: float, interruptions: Interruptions, rng: np.random.Generator) -> float:
    """One run as it happens: the next interruption is drawn, and everything since the last checkpoint is lost."""
    clock, done, restart = 0.0, 0.0, 0.0
    every = interruptions.checkpoint_hours or work
    while done < work - 1e-9:
        last = done + every >= work - 1e-9
        needed = restart + (work - done if last else every + interruptions.checkpoint_cost_hours)
        until = rng.exponential(1 / interruptions.per_hour)
        if until < needed:
            clock, restart = clock + until, interruptions.restart_hours
        else:
            clock, done, restart = clock + needed, work if last else done + every, 0.0
    return clock


def test_a_rate_that_never_lets_a_stage_end_is_no_offer() -> None:
    assert expected_hours(5000.0, Interruptions(1.0)) == math.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, "at least 1"),
        ({"stages": [TABLE.stages[0], TABLE.stages[0]]}, "listed twice"),
        ({"stages": [TABLE.stages[2], TABLE.stages[0], TABLE.stages[3]]}, "not neighbours"),
    ],
)
def test_tables_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimesTable.model_validate({"schema_version": 1, "title": "t", "source": "s", **change})
    with pytest.raises(ValidationError, match="two times for"):
        StageTimes(name="s", times=[StageTime(instance="a", gpus=1, seconds=1)] * 2)


def test_an_unknown_machine_is_named_and_so_is_one_with_fewer_gpus() -> None:
    few = StageTimes(name="s", times=[StageTime(instance="g4dn.xlarge", gpus=2, seconds=1)])
    with pytest.raises(InputError, match="2 GPUs of g4dn.xlarge, which has 1"):
        build_problem(TimesTable(schema_version=1, title="t", source="s", stages=[few]), MACHINES, DAY)
    stage = StageTimes(name="s", times=[StageTime(instance="x9.huge", gpus=1, seconds=1)])
    with pytest.raises(InputError, match=r"instance 'x9\.huge' is not in the registry"):
        build_problem(TimesTable(schema_version=1, title="t", source="s", stages=[stage]), MACHINES, DAY)
