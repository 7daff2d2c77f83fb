"""The machine of a job as CryoSPARC describes it, in the words of this package's probes. Host names stay behind."""

from __future__ import annotations

import re
from typing import Any

from cryorepro_cryosparc.mongo import shown

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)i?B\s*")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_MOST_GPUS = 64


def probes(information: dict[str, Any], resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Readings by probe of a job's ``instance_information`` and ``resources_allocated``; only what is told."""
    found: dict[str, dict[str, Any]] = {}
    cpu = {
        "model": _text(information.get("cpu_model")),
        "cores_physical": _count(information.get("physical_cores")),
        "frequency": _frequency(information.get("max_cpu_freq")),
    }
    system = {
        "kernel_release": _text(information.get("platform_release")),
        "architecture": _text(information.get("platform_architecture")),
    }
    gpu = {
        "driver": _text(information.get("driver_version")),
        "cuda_driver": _text(information.get("CUDA_version") or information.get("toolkit_version")),
        "gpus": _gpus(information, resources),
    }
    memory = {"total_bytes": size_in_bytes(information.get("total_memory"))}
    for name, reading in (("cpu", cpu), ("memory", memory), ("system", system), ("gpu", gpu)):
        told = {key: value for key, value in reading.items() if value not in (None, [], {})}
        if told:
            found[name] = told
    slots = resources.get("slots")
    if isinstance(slots, dict):
        used = {key.lower(): len(value) for key, value in slots.items() if key in _SLOTS and isinstance(value, list)}
        if used:
            found["allocated"] = {f"{key}_slots": count for key, count in used.items()}
    return found


_SLOTS = ("CPU", "GPU", "RAM")


def _gpus(information: dict[str, Any], resources: dict[str, Any]) -> list[dict[str, Any]]:
    """The GPUs of the target; of those only the ones that the job was given, where that is told."""
    target = resources.get("target")
    config = target.get("config") if isinstance(target, dict) else None
    listed = information.get("gpu_info")
    for place in (target, config):
        if not listed and isinstance(place, dict):
            listed = place.get("gpus")
    slots = resources.get("slots")
    given = slots.get("GPU") if isinstance(slots, dict) else None
    cards = [card for card in (listed if isinstance(listed, list) else []) if isinstance(card, dict)][:_MOST_GPUS]
    if isinstance(given, list) and given:
        cards = [card for card in cards if card.get("id") in given]
    return [
        {"name": _text(card.get("name")), "memory_total_bytes": _count(card.get("mem"))}
        for card in cards
        if _text(card.get("name"))
    ]


def size_in_bytes(text: Any) -> int | None:
    """``"125.60GB"`` as CryoSPARC writes sizes, in bytes (its units are powers of 1024); None when it says nothing."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    size = round(float(match[1]) * 1024 ** _POWERS[match[2]]) if match else 0
    return size or None


def _text(value: Any) -> str | None:
    return shown(value, 200) or None if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**60 else None


def _frequency(megahertz: Any) -> dict[str, float] | None:
    known = isinstance(megahertz, int | float) and 0 < megahertz < 1e6
    return {"maximum_khz": float(megahertz) * 1000.0} if known else None
