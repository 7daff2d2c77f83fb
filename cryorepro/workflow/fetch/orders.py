"""From words a person typed to an order, its preview, and settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DatasetInfo
from cryorepro.workflow.fetch.commands import commands
from cryorepro.workflow.fetch.emdb import EXTRAS, Extra
from cryorepro.workflow.fetch.settings import FetchSettings, mirrors_of
from cryorepro.workflow.fetch.space import human
from cryorepro.workflow.fetch.tiers import RealTier, discarded_names, patterns, require_layout

DEFAULT_PARTICLES = 2000
_RATE = re.compile(r"^(\d+(?:\.\d+)?)([kMG]?)$")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Order:
    """What a person asks for: `count` particles or movies of a subset, drawn with `seed`, and extras from EMDB."""

    info: DatasetInfo
    tier: RealTier
    seed: int = 1
    count: int | None = None
    extras: tuple[Extra, ...] = ()

    @property
    def by_ranges(self) -> bool:
        """Whether particles are chosen, rather than whole files."""
        return self.tier == "subset" and self.info.layout is not None and self.info.layout.particles_star is not None

    @property
    def number(self) -> int:
        """How many particles or movies."""
        if self.count is not None:
            return self.count
        declared = self.info.tier(self.tier)
        if self.by_ranges:
            return (declared.particles if declared else None) or DEFAULT_PARTICLES
        return self.info.layout.subset_movies if self.info.layout else 1


def preview(order: Order, cache_root: Path) -> list[str]:
    """What would be fetched, as lines; asks nobody.

    Raises:
        InputError: the tier cannot be fetched.
    """
    layout, info = require_layout(order.info, order.tier), order.info
    declared = info.tier(order.tier)
    folder = cache_root / info.name
    size = declared.size_bytes if declared else None
    lines = [f"{info.name} {order.tier}: {declared.summary if declared else ''}"]
    lines.append(f"size     {human(size) if size else 'not known before the archive is asked'}")
    lines.append(f"into     {folder}")
    for pattern in patterns(layout, order.tier):
        lines.append(f"file     {pattern}")
    if order.by_ranges:
        lines.append(f"ranges   {order.number} particles of it, drawn with seed {order.seed}")
    elif order.tier == "subset" and (layout.movies or layout.micrographs):
        lines.append(f"draw     {order.number} of the movies or micrographs, with seed {order.seed}")
    lines += [f"bundle   {bundle.url}" for bundle in layout.bundles if bundle.tier == order.tier]
    lines += [f"leave    {name}" for name in sorted(discarded_names(info))]
    lines += [f"with     {extra}: {', '.join(info.emdb if extra != 'model' else info.pdb)}" for extra in order.extras]
    found = commands(
        info.accession.removeprefix("EMPIAR-"),
        [path for path in patterns(layout, "full") if path not in layout.metadata],
        folder,
    )
    return lines + [f"{name:<8} {command}" for name, command in found.items()]


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
