"""Plans for a person and for machines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryorepro.compare.planning.answer import Answer
from cryorepro.compare.planning.problem import Plan, starts
from cryorepro.compare.planning.published import CheckedTotal


def print_answer(answer: Answer) -> None:
    """Everything: published totals and their check, the plan, single machines, the front, what cannot be checked."""
    out = Console()
    say(out, f"{answer.name}: {answer.table.title}; times from {answer.table.source}")
    say(out, f"prices on demand seen nearest to {answer.settings.day}, {answer.settings.region}")
    if answer.checked:
        out.print(_checked_table(answer.checked))
    _print_plan(out, answer)
    if answer.per_stage:
        _print_comparison(out, answer)
    say(out, "FRONT: no plan is both cheaper and faster than one of these")
    out.print(_plans_table(answer, answer.front))
    for line in unchecked(answer):
        say(out, line)


def say(out: Console, text: str) -> None:
    """A plain line."""
    out.print(text, markup=False, highlight=False)


def unchecked(answer: Answer) -> list[str]:
    """What the sources leave open, and what a plan does not account for."""
    lines = []
    if not answer.per_stage:
        lines.append(
            "Only totals are known, so a plan is one machine for the whole run; with --times FILE or --from-run "
            "RUN=INSTANCE it is made stage by stage."
        )
    lines += [
        f"cannot be checked: {total.time.printed or f'{total.time.value:g} s'} on {total.time.hardware}: "
        + ("no cost was published" if total.cost is None else "the machine has no price in the registry")
        for total in answer.checked
        if total.agrees is None
    ]
    lines += [f"cannot be checked: {gap.what} ({gap.source}): {gap.why}" for gap in answer.gaps]
    if answer.published_scaling:
        scaling = ", ".join(f"{step} {count}" for step, count in answer.published_scaling.items())
        lines.append(f"published number of GPUs a step gains from: {scaling}")
    if answer.settings.storage is None:
        lines.append("no storage is included (--storage)")
    return lines


def _checked_table(checked: list[CheckedTotal]) -> Table:
    table = Table(
        "machine", "time", "cost", "USD/h (seen)", "time x price", "as printed",
        title="PUBLISHED TOTALS and their check", title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for total in checked:
        word = {None: "cannot be checked", True: "yes", False: "NO"}[total.agrees]
        table.add_row(
            total.time.instance or escape(total.time.hardware),
            total.time.printed or hours(total.time.value / 3600),
            f"${total.cost.value:.2f}" if total.cost else "not published",
            f"{total.price.usd_per_hour:g} ({total.price.seen_from})" if total.price else "-",
            "-" if total.usd is None else f"${total.usd:.2f}",
            word,
        )
    return table


def _bounds(answer: Answer) -> str:
    parts = [f"within {hours(answer.deadline_hours)}"] if answer.deadline_hours is not None else []
    parts += [f"for at most ${answer.budget_usd:.2f}"] if answer.budget_usd is not None else []
    return ("the cheapest" if answer.objective == "cost" else "the fastest") + " ".join(["", *parts])


def _print_plan(out: Console, answer: Answer) -> None:
    if answer.plan is None:
        say(out, f"NO PLAN is {_bounds(answer)}; the front below says what is possible")
        return
    plan, problem = answer.plan, answer.problem
    table = Table(
        "stage", "machine", "GPUs", "time", "cost",
        box=None, pad_edge=False,
    )  # fmt: skip
    say(out, f"PLAN, {_bounds(answer)}: {hours(plan.hours)}, ${plan.usd:.2f}")
    for row in stage_rows(answer, plan):
        table.add_row(
            *map(escape, (row["stage"], row["machine"], row["note"], hours(row["hours"]), f"${row['usd']:.2f}"))
        )
    out.print(table)
    extra = plan.usd - sum(row["usd"] for row in stage_rows(answer, plan))
    if extra > 0.005:
        say(out, f"  starting machines ({len(starts(plan.choice))}) and storage: ${extra:.2f}")
    if any(offer.spot for offer in problem.offers):
        rate = answer.settings.interruptions.per_hour
        say(out, f"  times on spot machines are expected ones, at {rate:g} interruptions an hour")


def stage_rows(answer: Answer, plan: Plan) -> list[dict[str, Any]]:
    """One row for each stage, or for stages side by side."""
    rows, problem, spans, k = [], answer.problem, dict(plan.abreast), 0
    while k < len(plan.choice):
        offer = problem.offers[plan.choice[k]]
        if k in spans:
            taken, last = problem.together[k, spans[k]][plan.choice[k]], spans[k]
            note = "1 each, side by side"
        else:
            work, last = problem.work[k, plan.choice[k]], k
            taken, note = work.hours, f"{work.gpus}" + (f", {work.abreast} jobs at once" if work.abreast > 1 else "")
            note += " (time by Amdahl's law)" if work.modelled else ""
        name = " + ".join(problem.stages[k : last + 1])
        rows.append(
            {"stage": name, "machine": offer.name, "note": note, "hours": taken, "usd": taken * offer.usd_per_hour}
        )
        k = last + 1
    return rows


def _print_comparison(out: Console, answer: Answer) -> None:
    say(out, "ONE MACHINE for everything")
    out.print(_plans_table(answer, answer.singles))
    if answer.plan is None or not answer.singles:
        return
    for single in answer.singles:
        name = answer.problem.offers[single.choice[0]].name
        saved, sooner = single.usd - answer.plan.usd, single.hours - answer.plan.hours
        say(
            out,
            f"  the plan against {name}: ${abs(saved):.2f} {'less' if saved >= 0 else 'more'}, "
            f"{hours(abs(sooner))} {'less' if sooner >= 0 else 'more'}",
        )


def _plans_table(answer: Answer, plans: list[Plan]) -> Table:
    table = Table("cost", "time", "machines", box=None, pad_edge=False)
    for plan in plans:
        chosen = " <- the plan" if plan == answer.plan else ""
        table.add_row(f"${plan.usd:.2f}", hours(plan.hours), escape(", ".join(plan.machines(answer.problem))) + chosen)
    return table


def plan_record(answer: Answer) -> dict[str, Any]:
    """The answer as JSON."""
    return {
        "benchmark": answer.name,
        "objective": answer.objective,
        "deadline_hours": answer.deadline_hours,
        "budget_usd": answer.budget_usd,
        "prices_on": answer.settings.day.isoformat(),
        "plan": answer.plan and _plan_dict(answer, answer.plan),
        "single_machines": [_plan_dict(answer, plan) for plan in answer.singles],
        "front": [_plan_dict(answer, plan) for plan in answer.front],
        "published_totals": [
            {
                "claim": total.time.id,
                "instance": total.time.instance,
                "hours": total.time.value / 3600,
                "usd": total.cost.value if total.cost else None,
                "usd_per_hour_then": total.price.usd_per_hour if total.price else None,
                "time_times_price_usd": total.usd,
                "agrees": total.agrees,
            }
            for total in answer.checked
        ],
        "not_checked": unchecked(answer),
    }


def _plan_dict(answer: Answer, plan: Plan) -> dict[str, Any]:
    return {
        "hours": plan.hours,
        "usd": plan.usd,
        "machines": plan.machines(answer.problem),
        "stages": stage_rows(answer, plan),
    }


def hours(value: float) -> str:
    """A time for a person."""
    return f"{value * 60:.1f} min" if value < 1 else f"{value:.2f} h"
