"""The exact plan, by SciPy's mixed-integer solver (HiGHS); its answer is held against plain arithmetic.

Variables: x[k, o] stage k runs on offer o by itself, z[g, o] the stages of group g run side by side on o, s[k, o] >= 0
offer o is started before stage k. With u[k, o] = x[k, o] + z[group of k, o]:

    sum over o of u[k, o] = 1                    every stage runs somewhere
    s[k, o] >= u[k, o] - u[k - 1, o]             a machine that was not running must be started (u[-1] = 0)

Hours and dollars are linear in x, z and s. Both bounds and the objective come from these two rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from cryorepro.compare.planning.problem import Plan, Problem, evaluate
from cryorepro.em.errors import InputError

Row = NDArray[np.float64]
STEP_HOURS = 1 / 3600
"""Two points of a front differ by at least a second."""
SLACK = 1e-6
MAXIMUM_POINTS = 200


class Model:
    """The constraint matrix of a problem, built once and solved under several bounds."""

    def __init__(self, problem: Problem) -> None:
        for index, name in enumerate(problem.stages):
            if not any((index, offer) in problem.work for offer in range(len(problem.offers))):
                raise InputError(f"stage '{name}' has no time on any machine that has a price")
        self.problem = problem
        single = [("x", stage, offer) for stage, offer in problem.work]
        spans = [("z", span, offer) for span, by_offer in problem.together.items() for offer in by_offer]
        begun = [("s", k, o) for k in range(len(problem.stages)) for o in range(len(problem.offers))]
        self.keys: list[tuple[str, Any, int]] = [*single, *spans, *begun]
        self.place = {key: index for index, key in enumerate(self.keys)}
        self.hours, self.usd = self._rows()
        self.structure = self._structure()

    def _rows(self) -> tuple[Row, Row]:
        problem = self.problem
        hours = np.zeros(len(self.keys))
        for index, (kind, which, offer) in enumerate(self.keys):
            if kind == "x":
                hours[index] = problem.work[which, offer].hours
            else:
                hours[index] = problem.together[which][offer] if kind == "z" else problem.boot_hours
        prices = np.array([problem.offers[offer].usd_per_hour for _, _, offer in self.keys])
        return hours, hours * (prices + problem.storage_usd_per_hour)

    def _used(self, stage: int, offer: int) -> Row:
        row = np.zeros(len(self.keys))
        if stage < 0:
            return row
        if ("x", stage, offer) in self.place:
            row[self.place["x", stage, offer]] = 1
        for first, last in self.problem.together:
            if first <= stage <= last and ("z", (first, last), offer) in self.place:
                row[self.place["z", (first, last), offer]] = 1
        return row

    def _structure(self) -> list[LinearConstraint]:
        stages, offers = range(len(self.problem.stages)), range(len(self.problem.offers))
        once = np.array([sum((self._used(k, o) for o in offers), np.zeros(len(self.keys))) for k in stages])
        started = []
        for k in stages:
            for o in offers:
                row = self._used(k - 1, o) - self._used(k, o)
                row[self.place["s", k, o]] += 1
                started.append(row)
        return [LinearConstraint(once, 1, 1), LinearConstraint(np.array(started), 0, np.inf)]

    def minimise(self, objective: Row, within: Iterable[tuple[Row, float]]) -> Plan | None:
        """The plan with the smallest ``objective``, every row of ``within`` below its bound; None if there is none."""
        whole = np.array([kind != "s" for kind, _, _ in self.keys], dtype=np.int64)
        limits = [LinearConstraint(row[None, :], -np.inf, bound) for row, bound in within]
        result = milp(
            objective,
            integrality=whole,
            bounds=Bounds(0, 1),
            constraints=[*self.structure, *limits],
            options={"mip_rel_gap": 0.0},
        )
        if result.status == 2:
            return None
        if result.status != 0 or result.x is None:
            raise RuntimeError(f"the solver ended without an answer: {result.message}")
        return self._read(result.x, float(result.fun), objective)

    def _read(self, x: Row, value: float, objective: Row) -> Plan:
        """The plan behind a solution, evaluated again without the solver."""
        choice, abreast = [-1] * len(self.problem.stages), set()
        for (kind, which, offer), amount in zip(self.keys, x, strict=True):
            if kind == "s" or amount < 0.5:
                continue
            first, last = (which, which) if kind == "x" else which
            for stage in range(first, last + 1):
                choice[stage] = offer
            if kind == "z":
                abreast.add((first, last))
        plan = evaluate(self.problem, choice, frozenset(abreast))
        found = plan.hours if objective is self.hours else plan.usd
        if abs(found - value) > SLACK * max(1.0, abs(value)):
            raise RuntimeError(f"the solver's answer is worth {value:g}, evaluated it is worth {found:g}")
        return plan


def best_plan(
    model: Model, objective: str, deadline_hours: float | None = None, budget_usd: float | None = None
) -> Plan | None:
    """The cheapest plan, or the fastest; among equals the fastest, or the cheapest. None when the bounds allow none."""
    within = [(model.hours, deadline_hours), (model.usd, budget_usd)]
    given = [(row, bound) for row, bound in within if bound is not None]
    first, second = (model.usd, model.hours) if objective == "cost" else (model.hours, model.usd)
    plan = model.minimise(first, given)
    if plan is None:
        return None
    reached = plan.usd if objective == "cost" else plan.hours
    return model.minimise(second, [*given, (first, reached * (1 + 1e-9) + 1e-9)]) or plan


def pareto_front(model: Model) -> list[Plan]:
    """Plans that no other beats in both time and cost, the cheapest first, no two within a second of each other."""
    front: list[Plan] = []
    plan = best_plan(model, "cost")
    while plan is not None and len(front) < MAXIMUM_POINTS:
        front.append(plan)
        plan = best_plan(model, "cost", plan.hours - STEP_HOURS)
    return front


def single_machine_plans(problem: Problem) -> list[Plan]:
    """The whole pipeline on one machine, for each that can do every stage: side by side where that is faster."""
    found = []
    for offer in range(len(problem.offers)):
        if not all((stage, offer) in problem.work for stage in range(len(problem.stages))):
            continue
        faster = frozenset(
            span
            for span, by_offer in problem.together.items()
            if by_offer.get(offer, np.inf) < sum(problem.work[k, offer].hours for k in range(span[0], span[1] + 1))
        )
        found.append(evaluate(problem, [offer] * len(problem.stages), faster))
    return sorted(found, key=lambda plan: plan.usd)
