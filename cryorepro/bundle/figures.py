"""Figures of a paper, as SVG and PNG: the FSC curves, and the use of the machine over time."""

from __future__ import annotations

import io
from typing import Any

from cryorepro.bundle.curves import FscCurve, curves_of
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.layout import FIGURES, USAGE
from cryorepro.bundle.usage import Usage

_STYLE: Any = {
    "font.size": 9, "font.family": "DejaVu Sans", "axes.spines.top": False, "axes.spines.right": False,
    "svg.hashsalt": "cryorepro", "svg.fonttype": "path", "lines.linewidth": 1.4, "legend.frameon": False,
}  # fmt: skip
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, told apart by colour-blind readers."""
_WIDTH_INCH, _HEIGHT_INCH, _DPI = 6.0, 3.6, 200


def figures(facts: Facts) -> dict[str, bytes]:
    """Members by name; none when there is nothing to draw."""
    found: dict[str, bytes] = {}
    by_outcome: dict[str, list[FscCurve]] = {}
    for curve in curves_of(facts.record["outcomes"]):
        by_outcome.setdefault(curve.outcome, []).append(curve)
    for outcome, curves in by_outcome.items():
        found |= _render(f"fsc-{outcome}", lambda axes, curves=curves: _draw_fsc(axes, curves))
    if facts.usage:
        found |= _render("resources", lambda axes: _draw_usage(axes, _in_order(facts)))
    return found


def _render(name: str, draw: Any) -> dict[str, bytes]:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = {}
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCH, _HEIGHT_INCH), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata)
            found[f"{FIGURES}{name}.{kind}"] = stream.getvalue()
    return found


def _draw_fsc(axes: Any, curves: list[FscCurve]) -> None:
    first = curves[0]
    for curve, colour in zip(curves, _COLOURS * len(curves), strict=False):
        frequencies = [curve.frequency(shell) for shell in range(len(curve.values))]
        axes.plot(frequencies, curve.values, color=colour, label=curve.part or curve.outcome)
    axes.axhline(first.threshold, color="0.5", linewidth=0.8, linestyle="--")
    right = first.frequency(len(first.values) - 1)
    axes.text(right, first.threshold, f"{first.threshold:g} ", ha="right", va="bottom", color="0.4", fontsize=8)
    axes.set(xlim=(0, right), ylim=(min(-0.1, *(min(curve.values) for curve in curves)), 1.05))
    axes.set(xlabel="Spatial frequency (1/Å)", ylabel="Fourier shell correlation")
    axes.set_title(f"{first.outcome}: {first.meaning}", fontsize=9, loc="left")
    top = axes.secondary_xaxis("top")
    marks = [tick for tick in axes.get_xticks() if 0 < tick <= right]
    top.set_xticks(marks, [f"{1 / tick:.1f}" for tick in marks])
    top.set_xlabel("Resolution (Å)")
    axes.legend(loc="upper right")


def _in_order(facts: Facts) -> dict[str, Usage]:
    """Tables of use by stage and attempt, in the order of the run."""
    attempts = [
        f"{name}-{attempt['attempt']}"
        for name, stage in facts.record["stages"].items()
        for attempt in stage["attempts"]
    ]
    return {name: facts.usage[f"{USAGE}{name}.csv"] for name in attempts if f"{USAGE}{name}.csv" in facts.usage}


def _draw_usage(axes: Any, tables: dict[str, Usage]) -> None:
    """Memory on the left axis, processors in use on the right; attempts one after the other."""
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    start = 0.0
    marks: list[tuple[float, str]] = []
    for name, table in tables.items():
        if not table.seconds:
            continue
        times = [start + second for second in table.seconds]
        axes.plot(times, [value / 1e9 for value in table.memory_bytes], color=_COLOURS[0])
        right.plot(times, _processors(table), color=_COLOURS[1])
        axes.axvline(start, color="0.85", linewidth=0.8, zorder=0)
        marks.append((start, name))
        start = times[-1]
    for number, (at, name) in enumerate(marks):
        height = 1.0 + 0.05 * (number % 3)  # names of short stages would lie on each other
        axes.text(at, height, f" {name}", transform=axes.get_xaxis_transform(), va="bottom", fontsize=8, color="0.3")
    axes.set_xlabel("Time in stages (s)")
    axes.set_ylabel("Memory (GB)", color=_COLOURS[0])
    right.set_ylabel("Processors in use", color=_COLOURS[1])
    axes.set_xlim(0, max(start, 1e-3))
    axes.set_ylim(bottom=0)
    right.set_ylim(bottom=0)


def _processors(table: Usage) -> list[float]:
    """Processor seconds per second between readings."""
    found = [0.0]
    pairs = zip(table.seconds, table.seconds[1:], table.cpu_seconds, table.cpu_seconds[1:], strict=False)
    for before, after, spent_before, spent in pairs:
        found.append((spent - spent_before) / (after - before) if after > before else 0.0)
    return found
