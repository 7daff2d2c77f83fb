"""Published times against hardware, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryorepro.compare.claims_table import PublishedRun
from cryorepro.em.errors import InputError
from cryorepro.model.workload import Workload

FORMATS = (".svg", ".png", ".pdf")
# Colour-blind safe (Okabe and Ito 2008); more sources than colours share the last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_published_times(
    runs: Mapping[str, Sequence[PublishedRun]], workloads: Mapping[str, Workload], title: str, output: Path
) -> None:
    """Write one panel for each workload: hours on a logarithmic axis, a row for each published run.

    Workloads with a single time are left out beside others: there is nothing to hold it against. Filled marks are
    times that nothing contradicts, open ones are in doubt; the colour is the source.

    Raises:
        InputError: the format is not known, or there is nothing to draw.
    """
    if output.suffix.lower() not in FORMATS:
        raise InputError(f"{output}: pictures are written as {', '.join(FORMATS)}")
    panels = {key: [row for row in rows if row.time.value > 0] for key, rows in runs.items()}
    panels = {key: rows for key, rows in panels.items() if len(rows) > 1} or {
        k: rows for k, rows in panels.items() if rows
    }
    if not panels:
        raise InputError(f"no wall time was published for {title}")
    import matplotlib
    from matplotlib.figure import Figure

    heights = [len(rows) + 2.5 for rows in panels.values()]
    figure = Figure(figsize=(11, 0.24 * sum(heights) + 1.2), layout="constrained")
    axes: Any = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    colours = _colours(panels)
    for axis, (key, rows) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, workloads[key].title if key in workloads else key, rows, colours)
    axes[-1, 0].set_xlabel("wall time / hours")
    figure.suptitle(f"{title}: published times (open: in doubt)", fontsize=11)
    _legend(figure, colours)
    # Text stays text, and the same claims give the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cryorepro"}):
        figure.savefig(output, metadata={"Date": None} if output.suffix.lower() == ".svg" else None)


def _colours(panels: Mapping[str, Sequence[PublishedRun]]) -> dict[str, str]:
    sources = dict.fromkeys(_source(row) for rows in panels.values() for row in rows)
    return {source: COLOURS[min(index, len(COLOURS) - 1)] for index, source in enumerate(sources)}


def _panel(axis: Any, title: str, rows: Sequence[PublishedRun], colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for place, row in enumerate(rows):
        colour = colours[_source(row)]
        hours = row.time.value / 3600
        axis.plot(hours, place, "o", color=colour, markerfacecolor="white" if row.doubts else colour, markersize=6)
        if row.doubts:
            axis.annotate(", ".join(row.doubts), (hours, place), (7, 0), textcoords="offset points", fontsize=6,
                          va="center", color="#555555")  # fmt: skip
    axis.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xscale("log")
    axis.margins(x=0.12)
    axis.xaxis.set_major_locator(LogLocator(subs=_subdivisions(rows)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", which="major", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_title(title, fontsize=8, loc="left")


def _subdivisions(rows: Sequence[PublishedRun]) -> tuple[float, ...]:
    """Ticks within a decade: more of them the fewer decades there are, so that two are always seen."""
    times = [row.time.value for row in rows]
    ratio = max(times) / min(times)
    if ratio > 300:
        return (1.0,)
    return (1.0, 2.0, 5.0) if ratio > 3 else tuple(float(digit) for digit in range(1, 10))


def _label(row: PublishedRun) -> str:
    text = f"{row.time.hardware}; {row.time.software.split(' (')[0]}"
    return text if len(text) <= 70 else f"{text[:69]}…"


def _source(row: PublishedRun) -> str:
    return row.time.source.split(",")[0].split(" @")[0]


def _legend(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), fontsize=7, frameon=False)
