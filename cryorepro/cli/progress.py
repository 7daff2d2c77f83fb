"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Listener = Callable[[str, dict[str, Any]], None]


def choose_listener(as_json: bool) -> Listener:
    """The listener that fits where the output goes."""
    if as_json:
        return print_json_line
    return LiveListener() if sys.stdout.isatty() else plain_listener()


def print_json_line(kind: str, content: dict[str, Any]) -> None:
    """One event as one line of JSON."""
    print(json.dumps({"event": kind, **content}, default=str), flush=True)


def sentence(kind: str, content: dict[str, Any], eta: str = "") -> str | None:
    """An event in words; None for events that need none."""
    if kind in ("run_started", "run_resumed"):
        verb = "run" if kind == "run_started" else "resuming"
        return f"{verb} {content['run']}: {content['benchmark']}, tier {content['tier']}"
    if kind == "set_started":
        return f"set {content['set']}"
    if kind == "member_started":
        runner = f" with {content['runner']}" if content["runner"] else ""
        return f"run     {content['position']} of {content['of']}: seed {content['seed']}{runner}"
    if kind == "preparing_data":
        return f"data    {content['dataset']} ({content['tier']}) …"
    if kind == "data_prepared":
        rows = ", ".join(f"{count:,} {name}" for name, count in content["rows"].items())
        applied = "".join(f"; erratum {item['id']} applied: {item['action']}" for item in content["errata"])
        return f"data    {rows}; {content['origin']}{applied}"
    if kind == "fingerprint_recorded":
        failed = [probe["name"] for probe in content["probes"] if probe["status"] != "ok"]
        tail = f", {len(failed)} failed: {', '.join(failed)}" if failed else ""
        return f"machine {len(content['probes'])} probes{tail}{_repeatability(content.get('calibration'))}"
    if kind == "calibrating":
        return (
            f"machine {content['seconds']:g} s to see how well it repeats itself (--no-calibration leaves this out) …"
        )
    if kind == "stage_started":
        again = f", attempt {content['attempt']}" if content["attempt"] > 1 else ""
        return f"stage   {content['index']}/{content['of']} {content['stage']} with {content['runner']}{again}"
    if kind == "stage_skipped":
        return f"stage   {content['stage']}: already done"
    if kind == "progress":
        of = f"/{content['of']}" if content["of"] else ""
        resolution = content["resolution_angstrom"]
        shown = f"  {resolution:.1f} A" if resolution else ""
        return f"        {content['stage']}: iteration {content['iteration']}{of}{shown}{eta}"
    if kind == "stage_ended":
        used = (
            f"{content['wall_seconds']:.1f} s wall, {content['cpu_seconds']:.1f} s CPU"
            if "wall_seconds" in content
            else ""
        )
        reason = f": {content['message']}" if content["message"] else ""
        return f"stage   {content['stage']}: {content['status']}{reason}  {used}".rstrip()
    if kind == "measuring":
        return f"measure {', '.join(content['outcomes'])}"
    return None


class _Eta:
    """Remaining time from the pace of the iterations seen in this attempt."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, float]] = {}

    def __call__(self, content: dict[str, Any]) -> str:
        now, iteration = time.monotonic(), content["iteration"]
        start, began = self._first.setdefault(content["stage"], (iteration, now))
        if not content["of"] or iteration <= start:
            return ""
        left = (now - began) / (iteration - start) * (content["of"] - iteration)
        return f"  about {left:.0f} s left" if left >= 1 else ""


def _repeatability(calibration: dict[str, Any] | None) -> str:
    if calibration is None:
        return ""
    return f"; differences of single times below {calibration['smallest_visible_once']:.1%} cannot be seen"


def plain_listener() -> Listener:
    """One line per event."""
    eta = _Eta()

    def listen(kind: str, content: dict[str, Any]) -> None:
        text = sentence(kind, content, eta(content) if kind == "progress" else "")
        if text:
            print(text, flush=True)

    return listen


class LiveListener:
    """A progress bar for the stage at work, lines for everything else."""

    def __init__(self) -> None:
        self._console = Console()
        self._eta = _Eta()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, kind: str, content: dict[str, Any]) -> None:
        """Show one event."""
        if kind == "progress":
            self._advance(content)
            return
        if kind in ("stage_ended", "failed", "run_ended") and self._bar is not None:
            self._bar.stop()
            self._bar = None
        text = sentence(kind, content)
        if text:
            self._console.print(text, highlight=False, markup=False)
        if kind == "stage_started":
            self._start(content["stage"])

    def _start(self, stage: str) -> None:
        columns = (TextColumn("        {task.description}"), BarColumn(30), TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
        self._task = self._bar.add_task(stage, total=None, note="")
        self._bar.start()

    def _advance(self, content: dict[str, Any]) -> None:
        if self._bar is None or self._task is None:
            return
        resolution = content["resolution_angstrom"]
        note = f"it {content['iteration']}" + (f"  {resolution:.1f} A" if resolution else "") + self._eta(content)
        self._bar.update(self._task, total=content["of"], completed=content["iteration"], note=note)
