"""What a stage's samples come to: means, peaks, energy, the sampler's own cost, and what perturbed it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cryorepro.workflow.timeline.columns import COLUMNS, GPU_COLUMNS
from cryorepro.workflow.timeline.perturbed import perturbations
from cryorepro.workflow.timeline.series import Column, Timeline, time_mean

_NOT_AVERAGED = {"seconds", "sampler_cpu_seconds"}
_DIGITS = 6


def summarise(
    timeline: Timeline | None, wall_seconds: float, cold_asked: bool = False, cached: float | None = None
) -> dict[str, Any]:
    """Plain JSON for the journal; columns that were never read are absent.

    ``cached`` is the fraction of the inputs that was in the page cache before the stage began.
    """
    flags = [asdict(flag) for flag in perturbations(timeline, wall_seconds, cold_asked, cached)]
    if timeline is None or not len(timeline):
        return {"samples": 0, "inputs_cached_at_start": cached, "perturbed": flags}
    names = [name for name in COLUMNS if name not in _NOT_AVERAGED and timeline.known(name)]
    seconds = timeline.seconds
    own = timeline.known("sampler_cpu_seconds")
    return {
        "samples": len(timeline),
        "period_s": timeline.period_s,
        "covered_seconds": _rounded(seconds[-1] - seconds[0]),
        "mean": {name: _rounded(timeline.mean(name)) for name in names},
        "peak": {name: _rounded(max(timeline.known(name))) for name in names},
        "gpus": [_card(seconds, name, card) for name, card in zip(timeline.gpu_names, timeline.gpus, strict=True)],
        "energy_joules": energy(timeline),
        "inputs_cached_at_start": _rounded(cached),
        "sampler_cpu_percent": _rounded(100.0 * (own[-1] - own[0]) / (seconds[-1] - seconds[0]))
        if len(own) > 1
        else None,
        "perturbed": flags,
    }


def energy(timeline: Timeline) -> dict[str, float | None]:
    """Energy in joules of processor packages and of all cards; None where it cannot be read.

    A card's own counter is believed before its power, which it averages over an interval of its own.
    """
    cards = [_card_energy(timeline.seconds, card) for card in timeline.gpus]
    known = [value for value in cards if value is not None]
    return {
        "packages": _rounded(integral(timeline.seconds, timeline.columns.get("package_watts", []))),
        "gpus": _rounded(sum(known)) if known and len(known) == len(cards) else None,
    }


def integral(seconds: list[float], column: Column) -> float | None:
    """Sum over time by trapezoids between the values that were read; None with fewer than two."""
    points = [(time, value) for time, value in zip(seconds, column, strict=False) if value is not None]
    if len(points) < 2:
        return None
    pairs = zip(points, points[1:], strict=False)
    return sum((later - earlier) * (one + other) / 2.0 for (earlier, one), (later, other) in pairs)


def _card_energy(seconds: list[float], card: dict[str, Column]) -> float | None:
    counter = [value for value in card["energy_joules"] if value is not None]
    if len(counter) > 1 and counter[-1] >= counter[0]:
        return counter[-1] - counter[0]
    return integral(seconds, card["watts"])


def _card(seconds: list[float], name: str, card: dict[str, Column]) -> dict[str, Any]:
    known = {column: [value for value in card[column] if value is not None] for column in GPU_COLUMNS}
    read = [column for column, values in known.items() if values and column not in ("index", "throttle_mask")]
    return {
        "name": name,
        "mean": {column: _rounded(time_mean(seconds, card[column])) for column in read},
        "peak": {column: _rounded(max(known[column])) for column in read},
        "energy_joules": _rounded(_card_energy(seconds, card)),
        "throttle_masks": sorted({int(mask) for mask in known["throttle_mask"]}),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
