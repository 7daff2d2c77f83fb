"""What a person sees of a transfer: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cryorepro.workflow.fetch.deliver import Delivery
from cryorepro.workflow.fetch.meter import Meter, Reading
from cryorepro.workflow.fetch.space import human
from cryorepro.workflow.fetch.transfer import Notice

_LINE_S = 10.0


def describe(reading: Reading) -> str:
    """``12.3 MB of 1.0 GB, 1.5 MB/s, 11 min left``."""
    of = f" of {human(reading.total_bytes)}" if reading.total_bytes is not None else ""
    left = f", {duration(reading.eta_s)} left" if reading.eta_s is not None else ""
    return f"{human(reading.done_bytes)}{of}, {human(reading.rate_bytes_per_s)}/s{left}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def show_transfer() -> Iterator[tuple[Meter, Notice]]:
    """A meter that is shown, and a way to say things above it."""
    if sys.stderr.isatty():
        with _bar() as shown:
            yield shown
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[tuple[Meter, Notice]]:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[note]}")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, note="")

        def watch(reading: Reading) -> None:
            note = describe(reading)
            bar.update(
                task,
                description=reading.label[-40:],
                total=reading.total_bytes,
                completed=reading.done_bytes,
                note=note,
            )

        yield Meter(watch), lambda text: console.print(text, markup=False, highlight=False)


def _lines() -> tuple[Meter, Notice]:
    last = time.monotonic()

    def watch(reading: Reading) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_S:
            last = time.monotonic()
            print(f"{reading.label}: {describe(reading)}", file=sys.stderr, flush=True)

    return Meter(watch), lambda text: print(text, file=sys.stderr, flush=True)


def print_delivery(delivery: Delivery, meter: Meter) -> None:
    """What came, where it is, what to know."""
    reading = meter.read()
    received, before = human(meter.received_bytes), human(reading.resumed_bytes)
    print(f"{len(delivery.files)} files, {received} received, {before} there before")
    for note in delivery.notes:
        print(note)
    print(delivery.folder)
