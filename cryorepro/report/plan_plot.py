"""The plans that nothing beats, and the whole run on single machines, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.compare.planning.answer import Answer
from cryorepro.em.errors import InputError

FORMATS = (".svg", ".png", ".pdf")
FRONT, SINGLE, CHOSEN, PUBLISHED = "#0072B2", "#D55E00", "#009E73", "#777777"
LABELLED = 12


def plot_front(answer: Answer, output: Path) -> None:
    """Write cost against time: the front as steps, single machines, published totals, the plan, and its bounds.

    Raises:
        InputError: the format is not known.
    """
    if output.suffix.lower() not in FORMATS:
        raise InputError(f"{output}: pictures are written as {', '.join(FORMATS)}")
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axis: Any = figure.subplots()
    _points(axis, answer)
    _bounds(axis, answer)
    axis.set_xlabel("time / hours")
    axis.set_ylabel("cost / USD")
    axis.set_title(f"{answer.name}: cost against time, prices of {answer.settings.day}", fontsize=10, loc="left")
    axis.margins(0.16)
    axis.set_ylim(bottom=0)
    axis.grid(color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    # Text stays text, and the same plan gives the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cryorepro"}):
        figure.savefig(output, metadata={"Date": None} if output.suffix.lower() == ".svg" else None)


def _points(axis: Any, answer: Answer) -> None:
    totals = [total for total in answer.checked if total.cost and not answer.per_stage]
    if totals:
        axis.plot([total.time.value / 3600 for total in totals], [total.cost.value for total in totals if total.cost],
                  "x", color=PUBLISHED, markersize=7, label="published total", zorder=2)  # fmt: skip
    front = sorted(answer.front, key=lambda plan: plan.hours)
    hours, usd = [plan.hours for plan in front], [plan.usd for plan in front]
    axis.plot(
        hours, usd, "o-", drawstyle="steps-post", color=FRONT, markersize=5, label="not beaten by any plan", zorder=3
    )
    axis.plot([plan.hours for plan in answer.singles], [plan.usd for plan in answer.singles], "s", color=SINGLE,
              markerfacecolor="none", markersize=9, label="one machine for everything", zorder=4)  # fmt: skip
    for plan in answer.singles[:LABELLED]:
        axis.annotate(answer.problem.offers[plan.choice[0]].name, (plan.hours, plan.usd), (9, 5), fontsize=7,
                      textcoords="offset points", color=SINGLE)  # fmt: skip
    if answer.plan:
        axis.plot(answer.plan.hours, answer.plan.usd, "o", color=CHOSEN, markersize=9, label="the plan", zorder=5)


def _bounds(axis: Any, answer: Answer) -> None:
    if answer.deadline_hours is not None:
        axis.axvline(answer.deadline_hours, color="#555555", linestyle="--", linewidth=1)
        axis.annotate("deadline", (answer.deadline_hours, 1), (3, -10), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=7, color="#555555")  # fmt: skip
    if answer.budget_usd is not None:
        axis.axhline(answer.budget_usd, color="#555555", linestyle=":", linewidth=1)
        axis.annotate("budget", (1, answer.budget_usd), (-34, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", fontsize=7, color="#555555")  # fmt: skip
