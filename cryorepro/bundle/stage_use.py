"""What a stage used of the machine: times, memory, GPUs and energy, over all its attempts."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.crate_terms import USAGE

_JOULES = (("energy_joules", "packages"), ("gpu_energy_joules", "gpus"))


def stage_use(stage: dict[str, Any]) -> dict[str, Any]:
    """By the names of ``USAGE``: sums of the record, what the timelines add, and what the last attempt measured."""
    last = stage["attempts"][-1] if stage["attempts"] else {}
    return {**{name: last.get(name) for name in USAGE}, **_timelines(stage), **stage.get("usage", {})}


def _timelines(stage: dict[str, Any]) -> dict[str, float]:
    """Energy and the use of GPUs; nothing where one of the attempts could not measure it."""
    lines = [attempt.get("timeline") or {} for attempt in stage["attempts"]]
    found: dict[str, float] = {}
    for name, part in _JOULES:
        values = [_number((line.get("energy_joules") or {}).get(part)) for line in lines]
        _put(found, name, values, sum)
    _put(found, "peak_gpu_memory_bytes", [_over_cards(line, "peak", "memory_bytes") for line in lines], max)
    busy = [_over_cards(line, "mean", "load") for line in lines]
    spans = [_number(line.get("covered_seconds")) for line in lines]
    times = [None if b is None or s is None else b * s for b, s in zip(busy, spans, strict=True)]
    _put(found, "gpu_seconds", times, sum)
    return found


def _put(found: dict[str, float], name: str, values: list[float | None], fold: Any) -> None:
    known = [value for value in values if value is not None]
    if known and len(known) == len(values):
        found[name] = float(fold(known))


def _over_cards(line: dict[str, Any], kind: str, column: str) -> float | None:
    """Sum over the cards of the machine."""
    cards = line.get("gpus") or []
    values = [_number((card.get(kind) or {}).get(column)) for card in cards if isinstance(card, dict)]
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(cards) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
