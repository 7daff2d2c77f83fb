"""A run's timeline as one SVG: processor, memory, I/O, page cache and GPUs over time, stages as bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryorepro.workflow.timeline.perturbed import Flag
from cryorepro.workflow.timeline.series import Column, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#666666"
"""Okabe and Ito's colours, told apart by those who do not see red and green."""


@dataclass(frozen=True)
class _Line:
    column: str
    label: str
    colour: str
    factor: float = 1.0


_PANELS: list[tuple[str, list[_Line]]] = [
    ("cores in use", [_Line("stage_cores", "stage", _BLUE), _Line("other_cores", "others", _ORANGE),
                      _Line("stolen_cores", "hypervisor", _GREY)]),
    ("memory (GB)", [_Line("stage_memory_bytes", "stage", _BLUE, 1e-9),
                     _Line("available_bytes", "still available", _GREEN, 1e-9),
                     _Line("swap_used_bytes", "swap in use", _ORANGE, 1e-9)]),
    ("I/O (MB/s)", [_Line("read_bytes", "read from devices", _BLUE, 1e-6),
                    _Line("written_bytes", "written to devices", _ORANGE, 1e-6),
                    _Line("read_calls_bytes", "read, cache included", _GREY, 1e-6)]),
    ("time waited (%)", [_Line("pressure_cpu", "for a core", _BLUE, 100.0),
                         _Line("pressure_io", "for I/O", _ORANGE, 100.0),
                         _Line("pressure_memory", "for memory", _GREEN, 100.0),
                         _Line("quota_stopped", "stopped by quota", _GREY, 100.0)]),
    ("inputs in page\ncache (%)", [_Line("inputs_cached", "inputs", _BLUE, 100.0)]),
]  # fmt: skip
_GPU_PANELS: list[tuple[str, list[_Line]]] = [
    ("GPU load (%)", [_Line("load", "GPU {}", "", 100.0)]),
    ("GPU power (W)", [_Line("watts", "GPU {}", "")]),
    ("GPU clock (MHz)", [_Line("sm_clock_mhz", "GPU {}", "")]),
    ("GPU memory (GB)", [_Line("memory_bytes", "GPU {}", "", 1e-9)]),
]


def plot_timeline(
    timelines: Sequence[Timeline], path: Path, title: str, flags: Sequence[tuple[str, Flag]] = ()
) -> None:
    """Write ``path`` (SVG). ``flags`` are pairs of stage and reason, listed below the panels.

    Panels without a single reading are left out.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = [(name, lines) for name, lines in _PANELS if _any(timelines, lines)]
    cards = max((len(timeline.gpus) for timeline in timelines), default=0)
    gpu_panels = _GPU_PANELS if cards else []
    count = len(panels) + len(gpu_panels)
    figure = Figure(figsize=(9.0, 1.3 * count + 1.1 + 0.2 * len(flags)), layout="constrained")
    FigureCanvasSVG(figure)
    axes: list[Axes] = list(figure.subplots(max(count, 1), 1, sharex=True, squeeze=False)[:, 0])
    start = min((timeline.started_at for timeline in timelines), default=0.0)
    for axis, (name, lines) in zip(axes, panels, strict=False):
        _panel(axis, name, [(line, timeline, timeline.columns) for line in lines for timeline in timelines], start)
    for axis, (name, lines) in zip(axes[len(panels) :], gpu_panels, strict=False):
        _panel(axis, name, _card_lines(lines[0], timelines, cards), start)
    _bands(axes, timelines, start)
    axes[0].set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("seconds since the first stage began")
    if flags:
        text = "\n".join(f"perturbed: {stage}: {flag.reason}: {flag.detail}" for stage, flag in flags)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=_ORANGE)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _card_lines(
    line: _Line, timelines: Sequence[Timeline], cards: int
) -> list[tuple[_Line, Timeline, dict[str, Column]]]:
    colours = [_BLUE, _ORANGE, _GREEN, _GREY]
    return [
        (_Line(line.column, line.label.format(card), colours[card % 4], line.factor), timeline, timeline.gpus[card])
        for card in range(cards)
        for timeline in timelines
        if card < len(timeline.gpus)
    ]


def _panel(axis: Axes, name: str, lines: list[tuple[_Line, Timeline, dict[str, Column]]], start: float) -> None:
    labelled: set[str] = set()
    for line, timeline, columns in lines:
        points = [
            (timeline.started_at - start + time, value * line.factor)
            for time, value in zip(timeline.seconds, columns.get(line.column, []), strict=False)
            if value is not None
        ]
        if not points or (line.column in _ONLY_IF_ANY and not any(value for _, value in points)):
            continue
        style: dict[str, Any] = {"marker": ".", "markersize": 3} if len(points) < 60 else {}
        label = None if line.label in labelled else line.label
        labelled.add(line.label)
        axis.plot(*zip(*points, strict=True), color=line.colour, linewidth=1.1, label=label, **style)
    axis.set_ylabel(name, fontsize=8)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    if len(labelled) > 1:
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)


_ONLY_IF_ANY = {"swap_used_bytes", "stolen_cores", "pressure_memory", "quota_stopped"}


def _bands(axes: list[Axes], timelines: Sequence[Timeline], start: float) -> None:
    for number, timeline in enumerate(timelines):
        begin = timeline.started_at - start
        end = begin + (timeline.seconds[-1] if len(timeline) else 0.0)
        for axis in axes:
            if number % 2 == 0:
                axis.axvspan(begin, end, color="#000000", alpha=0.05, linewidth=0)
        name = timeline.stage if timeline.attempt == 1 else f"{timeline.stage} ({timeline.attempt})"
        place = ((begin + end) / 2, 1.0)
        axes[0].annotate(
            name, place, xycoords=("data", "axes fraction"), xytext=(0, -2), textcoords="offset points", fontsize=7,
            ha="center", va="top", color=_GREY,
        )  # fmt: skip


def _any(timelines: Sequence[Timeline], lines: list[_Line]) -> bool:
    return any(timeline.known(line.column) for timeline in timelines for line in lines)
