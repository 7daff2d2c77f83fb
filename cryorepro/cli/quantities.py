"""Durations, sums of money and NAME=VALUE pairs as people type them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from cryorepro.em.errors import InputError

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)")
_HOURS = {"h": 1.0, "min": 1 / 60, "m": 1 / 60, "s": 1 / 3600}


def hours(text: str, option: str) -> float:
    """``4h``, ``90min``, ``2h30m``, ``45s`` in hours.

    Raises:
        InputError: the text is no duration, or none above zero.
    """
    found = _PART.findall(text)
    total = sum(float(amount) * _HOURS[unit] for amount, unit in found)
    if not found or _PART.sub("", text).strip() or not 0 < total < 1e5:
        raise InputError(f"{option}: '{text}' is no duration; write 4h, 90min or 2h30m")
    return total


def pairs(values: Sequence[str], option: str) -> list[tuple[str, str]]:
    """``NAME=VALUE`` split at the last ``=``.

    Raises:
        InputError: there is none, or a side is empty.
    """
    found = []
    for value in values:
        name, mark, right = value.rpartition("=")
        if not mark or not name or not right:
            raise InputError(f"{option}: '{value}' must read NAME=VALUE")
        found.append((name, right))
    return found


def amounts(values: Sequence[str], option: str) -> dict[str, float]:
    """``NAME=NUMBER`` with numbers above zero.

    Raises:
        InputError: a number is malformed or not above zero.
    """
    found = {}
    for name, text in pairs(values, option):
        try:
            number = float(text)
        except ValueError as error:
            raise InputError(f"{option}: '{text}' is no number") from error
        if not math.isfinite(number) or number <= 0:
            raise InputError(f"{option}: {name} must be above zero, not {text}")
        found[name] = number
    return found
