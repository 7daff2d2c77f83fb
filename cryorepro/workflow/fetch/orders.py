"""From words a person typed to an order and settings."""

from __future__ import annotations

import re

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DatasetInfo
from cryorepro.workflow.fetch.deliver import Order
from cryorepro.workflow.fetch.emdb import EXTRAS, Extra
from cryorepro.workflow.fetch.settings import FetchSettings, mirrors_of

_RATE = re.compile(r"^(\d+(?:\.\d+)?)([kMG]?)$")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def make_order(info: DatasetInfo, tier: str, count: int | None, seed: int, extras: str | None) -> Order:
    """Check the words of ``cryorepro fetch``. Particles come with their map, unless another wish is given.

    Raises:
        InputError: a word is not known.
    """
    if tier not in ("subset", "full"):
        raise InputError(f"--tier {tier}: what can be fetched are the tiers subset and full")
    if tier == "full" and count is not None:
        raise InputError("--count: tier full is the whole deposit; a count belongs to tier subset")
    particles = info.layout is not None and info.layout.particles_star is not None
    words = extras if extras is not None else ("map" if particles else "none")
    chosen: list[Extra] = []
    for word in words.split(","):
        if word == "none" and words == "none":
            break
        known = next((extra for extra in EXTRAS if extra == word), None)
        if known is None:
            raise InputError(f"--with {word}: known are {', '.join(EXTRAS)}, or none")
        chosen.append(known)
    return Order(info, "subset" if tier == "subset" else "full", seed, count, tuple(dict.fromkeys(chosen)))


def make_settings(connections: int, limit_rate: str | None) -> FetchSettings:
    """Settings of a transfer. Raises InputError when the rate cannot be read."""
    return FetchSettings(connections=connections, rate_limit=rate_of(limit_rate), mirrors=mirrors_of())


def rate_of(text: str | None) -> float | None:
    """Bytes per second from ``500k`` or ``20M`` (decimal)."""
    if text is None:
        return None
    match = _RATE.match(text)
    rate = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if rate < 1000:
        raise InputError(f"--limit-rate {text}: give bytes per second, at least 1k, such as 500k or 20M")
    return rate
