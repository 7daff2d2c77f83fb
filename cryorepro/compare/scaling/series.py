"""Series of published runs that differ only in the number of devices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryorepro.compare.claims_lint.finding import devices
from cryorepro.compare.claims_table import PublishedRun
from cryorepro.compare.planning.published import source_day
from cryorepro.compare.scaling.laws import Point
from cryorepro.model.claim import Claim
from cryorepro.model.machines import Machines


@dataclass(frozen=True)
class Series:
    """Runs of one workload on one system with one program; ``doubtful`` ones are shown, never fitted."""

    workload: str
    system: str
    software: str
    unit: str
    points: list[Point]
    doubtful: list[tuple[Point, tuple[str, ...]]]


def published_series(runs: Mapping[str, Sequence[PublishedRun]], machines: Machines) -> list[Series]:
    """Every series with runs on at least two numbers of devices that nothing contradicts."""
    found = []
    for workload, rows in runs.items():
        groups: dict[tuple[str, ...], list[PublishedRun]] = defaultdict(list)
        for row in rows:
            if row.time.system and devices(row.time):
                groups[_key(row.time)].append(row)
        for (system, software, unit, *_), members in groups.items():
            ordered = sorted(members, key=lambda row: (devices(row.time) or 0, row.time.value))
            sound = [_point(row.time, machines) for row in ordered if not row.doubts]
            doubtful = [(_point(row.time, machines), row.doubts) for row in ordered if row.doubts]
            if len({point.devices for point in sound}) > 1:
                found.append(Series(workload, system, software, unit, sound, doubtful))
    return found


def _key(claim: Claim) -> tuple[str, ...]:
    """What must be the same; the command is not, as ranks and pools are meant to differ with the devices."""
    unit = "GPUs" if claim.gpus else "nodes"
    return claim.system or "", claim.software, unit, claim.gpu or "", *claim.without


def _point(claim: Claim, machines: Machines) -> Point:
    instance, day = machines.instances.get(claim.instance or ""), source_day(claim)
    price = instance.price_on(day) if instance and day else None
    usd = price.usd_per_hour * claim.value / 3600 * (claim.nodes or 1) if price else None
    return Point(devices(claim) or 0, claim.value, usd=usd, label=claim.id)
