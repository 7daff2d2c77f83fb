"""Speed-up, and speed-up for the cost, over devices, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryorepro.compare.scaling.laws import fit_amdahl, speedups, speedups_per_cost
from cryorepro.compare.scaling.series import Series
from cryorepro.em.errors import InputError

FORMATS = (".svg", ".png", ".pdf")
# Colour-blind safe (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_scaling(found: Sequence[Series], title: str, output: Path) -> None:
    """Write speed-up with Amdahl's law (left), and speed-up for the cost with its best run marked (right).

    Raises:
        InputError: the format is not known.
    """
    if output.suffix.lower() not in FORMATS:
        raise InputError(f"{output}: pictures are written as {', '.join(FORMATS)}")
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    gains, costs = figure.subplots(1, 2)
    for index, series in enumerate(found):
        _draw(gains, costs, series, COLOURS[index % len(COLOURS)])
    _ideal(gains, found)
    for axis, name in ((gains, "speed-up over the smallest run"), (costs, "speed-up for the cost, smallest run = 1")):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("devices (GPUs or nodes)")
        axis.set_title(name, fontsize=9, loc="left")
        axis.grid(color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
    gains.set_yscale("log", base=2)
    gains.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    costs.set_ylim(bottom=0)
    figure.suptitle(title, fontsize=11)
    figure.legend(*gains.get_legend_handles_labels(), loc="outside lower center", ncols=1, fontsize=7, frameon=False)
    # Text stays text, and the same runs give the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cryorepro"}):
        figure.savefig(output, metadata={"Date": None} if output.suffix.lower() == ".svg" else None)


def _draw(gains: Any, costs: Any, series: Series, colour: str) -> None:
    counts = [point.devices for point in series.points]
    label = f"{series.workload}; {series.system}, {series.software} ({series.unit})"
    gains.plot(counts, speedups(series.points), "o", color=colour, markersize=5, label=label)
    if len({point.work for point in series.points}) == 1:
        fit, fewest = fit_amdahl(series.points), min(counts)
        line = [fewest * (max(counts) / fewest) ** (k / 60) for k in range(61)]
        gains.plot(line, [fit.seconds(fewest) / fit.seconds(n) for n in line], "-", color=colour, linewidth=1)
    worth = speedups_per_cost(series.points)
    base = worth[counts.index(min(counts))]
    scaled = [value / base for value in worth]
    costs.plot(counts, scaled, "o-", color=colour, markersize=4, linewidth=1)
    best = max(range(len(scaled)), key=lambda k: scaled[k])
    costs.plot(counts[best], scaled[best], "o", color=colour, markersize=11, markerfacecolor="none")


def _ideal(gains: Any, found: Sequence[Series]) -> None:
    widest = max(max(p.devices for p in series.points) / min(p.devices for p in series.points) for series in found)
    gains.plot([1, widest], [1, widest], ":", color="#777777", linewidth=1, label="linear, from one device")
