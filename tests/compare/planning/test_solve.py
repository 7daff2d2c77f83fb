"""The solver against every plan there is, on problems small enough to list them all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.compare.planning.packing import shortest_makespan
from cryorepro.compare.planning.problem import Offer, Plan, Problem, Work, evaluate
from cryorepro.compare.planning.solve import STEP_HOURS, Model, best_plan, pareto_front, single_machine_plans
from cryorepro.em.errors import InputError

HOURS = st.integers(1, 40).map(lambda tenths: tenths / 10)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    stages, offers = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    work = {(k, o): Work(draw(HOURS), 1) for k in range(stages) for o in range(offers) if o == 0 or draw(st.booleans())}
    together: dict[tuple[int, int], dict[int, float]] = {}
    if stages > 2 and draw(st.booleans()):
        together[1, 2] = {o: draw(HOURS) for o in range(offers) if (1, o) in work and (2, o) in work}
    prices = [draw(st.integers(1, 30)) for _ in range(offers)]
    return Problem(
        [f"stage-{k}" for k in range(stages)],
        [Offer(f"machine-{o}", float(price), 8) for o, price in enumerate(prices)],
        work,
        together,
        storage_usd_per_hour=draw(st.sampled_from([0.0, 0.3])),
        boot_hours=draw(st.sampled_from([0.0, 1 / 6])),
    )


def every_plan(problem: Problem) -> Iterator[Plan]:
    """Written without the solver's formulation: all choices, each with and without the group side by side."""
    for choice in itertools.product(range(len(problem.offers)), repeat=len(problem.stages)):
        for count in range(len(problem.together) + 1):
            for abreast in itertools.combinations(problem.together, count):
                try:
                    yield evaluate(problem, choice, frozenset(abreast))
                except KeyError:
                    continue


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0.3, 14), st.floats(1, 250), st.sampled_from(["cost", "time"]))
def test_no_plan_is_better(problem: Problem, deadline: float, budget: float, objective: str) -> None:
    allowed = [plan for plan in every_plan(problem) if plan.hours <= deadline and plan.usd <= budget]
    near = [plan for plan in every_plan(problem) if plan.hours <= deadline + 1e-5 and plan.usd <= budget + 1e-4]
    found = best_plan(Model(problem), objective, deadline, budget)
    if found is None:
        assert not allowed
        return
    assert found.hours <= deadline + 1e-5 and found.usd <= budget + 1e-4
    worth = (lambda plan: plan.usd) if objective == "cost" else (lambda plan: plan.hours)
    assert worth(found) >= min(map(worth, near)) - 1e-6
    if allowed:
        assert worth(found) <= min(map(worth, allowed)) + 1e-6


@settings(max_examples=25, deadline=None)
@given(problems())
def test_the_front_is_every_plan_that_nothing_beats(problem: Problem) -> None:
    plans = list(every_plan(problem))
    front = pareto_front(Model(problem))
    for one, other in itertools.pairwise(front):
        assert one.usd < other.usd + 1e-6 and one.hours > other.hours
    for plan in plans:
        assert any(p.usd <= plan.usd + 1e-6 and p.hours <= plan.hours + STEP_HOURS + 1e-6 for p in front)
    for point in front:
        assert not any(p.usd < point.usd - 1e-6 and p.hours < point.hours - 1e-6 for p in plans)


@settings(max_examples=30, deadline=None)
@given(st.lists(HOURS, min_size=1, max_size=6), st.integers(1, 3))
def test_jobs_are_packed_as_well_as_any_assignment_packs_them(hours: list[float], gpus: int) -> None:
    best = min(
        max(sum(h for h, slot in zip(hours, slots, strict=True) if slot == gpu) for gpu in range(gpus))
        for slots in itertools.product(range(gpus), repeat=len(hours))
    )
    assert shortest_makespan(hours, gpus) == pytest.approx(best, abs=1e-9)


def test_starting_a_machine_keeps_stages_on_the_one_that_runs() -> None:
    offers = [Offer("fast", 10, 1), Offer("cheap", 1, 1)]
    work = {(k, o): Work(hours, 1) for k in range(3) for o, hours in enumerate((1.0, 1.0))}
    work[1, 1] = Work(10.5, 1)
    ready = Problem("abc", offers, work)
    assert best_plan(Model(ready), "cost").choice == (1, 0, 1)  # type: ignore[union-attr]
    slow = Problem("abc", offers, work, boot_hours=0.5)
    found = best_plan(Model(slow), "cost")
    assert found is not None and found.choice == (1, 1, 1)
    assert found.usd == pytest.approx(12.5 + 0.5)


def test_mixed_is_never_worse_than_one_machine() -> None:
    rng = np.random.default_rng(5)
    offers = [Offer(f"m{o}", float(price), 8) for o, price in enumerate((2, 8, 25))]
    work = {(k, o): Work(float(rng.uniform(0.2, 3)) / (o + 1), 1) for k in range(6) for o in range(3)}
    problem = Problem("abcdef", offers, work)
    model = Model(problem)
    for single in single_machine_plans(problem):
        assert best_plan(model, "cost", single.hours).usd <= single.usd + 1e-6  # type: ignore[union-attr]
        assert best_plan(model, "time", budget_usd=single.usd).hours <= single.hours + 1e-6  # type: ignore[union-attr]


def test_a_stage_without_a_machine_is_named() -> None:
    with pytest.raises(InputError, match="stage 'b' has no time on any machine"):
        Model(Problem("ab", [Offer("m", 1, 1)], {(0, 0): Work(1, 1)}))


def test_what_cannot_be_met_is_no_plan() -> None:
    problem = Problem("a", [Offer("m", 2.0, 1)], {(0, 0): Work(3.0, 1)})
    assert best_plan(Model(problem), "cost", deadline_hours=2.99) is None
    assert best_plan(Model(problem), "time", budget_usd=5.99) is None
    assert math.isclose(best_plan(Model(problem), "time", 3.0, 6.0).usd, 6.0)  # type: ignore[union-attr]
