"""How exactly a figure is known from the way it is printed: half a unit of its last digit.

A figure that the source calls approximate is given a whole unit, since nobody says 'about' of a digit they stand by.
A count is a whole number and exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from cryorepro.model.claim import Claim

_SECONDS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
_FIELD = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)(?![a-z])")
_CLOCK = re.compile(r"(\d+)([:.])(\d\d) h:min")
_NUMBER = re.compile(r"(-?\d{1,3}(?:,\d{3})+|-?\d+)(\.\d+)?\s*(%|k)?")
COUNTS = {"runs", "iterations", "classes", "GPUs", "vCPU", "CPUs", "particles", "movies", "samples", "pixels"}
_SCALE = {"%": 0.01, "k": 1000.0, None: 1.0}


@dataclass(frozen=True)
class Interval:
    """Values a printed figure can stand for, both ends included."""

    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether one value could be meant by both; a part in 10^9 is left for binary fractions."""
        slack = 1e-9 * max(abs(self.low), abs(self.high), abs(other.low), abs(other.high))
        return self.low <= other.high + slack and other.low <= self.high + slack

    def scaled(self, factor: float) -> Interval:
        """The interval times a positive number."""
        return Interval(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Print:
    """A printed figure as a number, half a unit of its last digit, and whether its form is off."""

    value: float
    half_unit: float
    malformed: bool = False


def read_print(text: str) -> Print | None:
    """``198 m 51 s``, ``2.79 h``, ``8:21 h:min``, ``1,266``, ``37 %``, ``749k``; times in seconds. None for others."""
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, mark, minutes = clock.groups()
        return Print(int(hours) * 3600 + int(minutes) * 60, 30, malformed=mark == "." or int(minutes) > 59)
    number = _NUMBER.fullmatch(text)
    if number:
        whole, fraction, suffix = number.groups()
        digits = len(fraction) - 1 if fraction else 0
        scale = _SCALE[suffix]
        return Print(float(whole.replace(",", "") + (fraction or "")) * scale, 0.5 * 10**-digits * scale)
    fields = _FIELD.findall(text)
    if not fields or _FIELD.sub("", text).strip():
        return None
    total = sum(float(amount) * _SECONDS[unit] for amount, unit in fields)
    amount, unit = fields[-1]
    digits = len(amount.partition(".")[2])
    return Print(total, 0.5 * 10**-digits * _SECONDS[unit])


def half_unit(value: float) -> float:
    """Half a unit of the last digit that ``value`` needs; 0.5 for a whole number."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    assert isinstance(exponent, int), "claims are finite"
    return 0.5 * 10.0 ** min(exponent, 0)


def interval(claim: Claim) -> Interval:
    """The values that a claim can stand for, in its own unit."""
    printed = read_print(claim.printed) if claim.printed else None
    value, half = (printed.value, printed.half_unit) if printed else (claim.value, half_unit(claim.value))
    if claim.approximate:
        half *= 2
    elif claim.unit in COUNTS and half <= 0.5:
        half = 0.0
    return Interval(value - half, value + half)
