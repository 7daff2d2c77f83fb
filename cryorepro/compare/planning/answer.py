"""The answer to a question of planning: the plan, the front, single machines, what was and was not checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryorepro.compare.planning.build import Settings, build_problem
from cryorepro.compare.planning.problem import Plan, Problem
from cryorepro.compare.planning.published import CheckedTotal, check_totals, useful_gpus
from cryorepro.compare.planning.solve import Model, best_plan, pareto_front, single_machine_plans
from cryorepro.model.claim import Claim
from cryorepro.model.machines import Machines
from cryorepro.model.stage_times import TimesTable
from cryorepro.model.workload import Gap, load_gaps


@dataclass(frozen=True)
class Answer:
    """What ``cryorepro plan`` says; ``plan`` is None when nothing keeps the bounds."""

    name: str
    table: TimesTable
    problem: Problem
    settings: Settings
    objective: str
    deadline_hours: float | None
    budget_usd: float | None
    plan: Plan | None
    front: list[Plan]
    singles: list[Plan]
    checked: list[CheckedTotal]
    gaps: list[Gap]
    published_scaling: dict[str, int]

    @property
    def per_stage(self) -> bool:
        """Whether the table splits the run into stages at all."""
        return len(self.table.stages) > 1


def answer(
    table: TimesTable,
    machines: Machines,
    settings: Settings,
    objective: str,
    deadline_hours: float | None,
    budget_usd: float | None,
    claims: Sequence[Claim],
    name: str,
) -> Answer:
    """Solve, and gather what was published beside it.

    Raises:
        InputError: a machine, a price or a storage is not known, or a stage can run nowhere.
    """
    problem = build_problem(table, machines, settings)
    model = Model(problem)
    datasets = {claim.dataset for claim in claims}
    return Answer(
        name,
        table,
        problem,
        settings,
        objective,
        deadline_hours,
        budget_usd,
        best_plan(model, objective, deadline_hours, budget_usd),
        pareto_front(model),
        single_machine_plans(problem),
        check_totals(claims, machines),
        [gap for gap in load_gaps().values() if gap.dataset in datasets],
        useful_gpus(claims),
    )
