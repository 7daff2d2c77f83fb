"""From a table of stage times, the registry of machines and a person's settings to a problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from cryorepro.compare.planning.packing import shortest_makespan
from cryorepro.compare.planning.problem import Offer, Problem, Work
from cryorepro.compare.planning.spot import Interruptions, expected_hours
from cryorepro.em.errors import InputError
from cryorepro.model.hardware import Instance, Storage
from cryorepro.model.machines import Machines
from cryorepro.model.stage_times import StageTimes, TimesTable

HOURS_PER_MONTH = 730.0
"""365 days of 24 hours over 12: what cloud providers divide a monthly price by."""


@dataclass(frozen=True)
class Settings:
    """What a person decides besides the objective. Spot prices are USD/h by instance; none, then no spot machines."""

    day: date
    region: str = "us-east-1"
    spot_usd_per_hour: Mapping[str, float] = field(default_factory=dict)
    interruptions: Interruptions = field(default_factory=Interruptions)
    boot_hours: float = 0.0
    storage: str | None = None
    storage_gb: float = 0.0


def build_problem(table: TimesTable, machines: Machines, settings: Settings) -> Problem:
    """The problem of ``table``.

    Raises:
        InputError: an instance is not known, has no price in the region, or has fewer GPUs than its time says.
    """
    named = sorted({time.instance for stage in table.stages for time in stage.times})
    instances = [_instance(machines, name) for name in named]
    offers = [offer for instance in instances for offer in _offers(instance, settings)]
    _check_gpus(table, {offer.instance: offer.gpus for offer in offers})
    work: dict[tuple[int, int], Work] = {}
    for k, stage in enumerate(table.stages):
        for o, offer in enumerate(offers):
            found = stage_work(stage, offer)
            hours = _expected(found.hours, offer, settings) if found else math.inf
            if found and math.isfinite(hours):
                work[k, o] = Work(hours, found.gpus, found.abreast, found.modelled)
    return Problem(
        [stage.name for stage in table.stages],
        offers,
        work,
        _together(table.stages, offers, settings),
        storage_usd_per_hour(machines, settings),
        settings.boot_hours,
    )


def stage_work(stage: StageTimes, offer: Offer) -> Work | None:
    """How a stage is best run on an offer: the GPUs for a job that end all jobs first, the fewest of equals."""
    counts = {0, *(count for count in (1, 2, 4, 8) if count <= offer.gpus), offer.gpus}
    counts |= {time.gpus for time in stage.times if time.instance == offer.instance}
    options = []
    for gpus in sorted(counts):
        timed = job_hours(stage, offer.instance, gpus)
        if timed is None or gpus > offer.gpus:
            continue
        slots = offer.gpus // gpus if gpus else 1
        hours, modelled = timed
        options.append(Work(hours * math.ceil(stage.jobs / slots), gpus, min(slots, stage.jobs), modelled))
    return min(options, key=lambda work: work.hours, default=None)


def job_hours(stage: StageTimes, instance: str, gpus: int) -> tuple[float, bool] | None:
    """Hours of one job on ``gpus`` GPUs, and whether Amdahl's law gave them; None when nothing says.

    A job gains nothing beyond ``scales_to``: it then takes, and is listed with, that many GPUs.
    """
    if stage.scales_to is not None and gpus > stage.scales_to:
        return None
    measured = {time.gpus: time.seconds / 3600 for time in stage.times if time.instance == instance}
    if gpus in measured:
        return measured[gpus], False
    on_gpus = {count: hours for count, hours in measured.items() if count > 0}
    if stage.serial_fraction is None or gpus == 0 or not on_gpus:
        return None
    nearest = min(on_gpus, key=lambda count: (abs(math.log(count / gpus)), count))
    serial = stage.serial_fraction

    def share(count: int) -> float:
        return serial + (1 - serial) / min(count, stage.scales_to or count)

    return on_gpus[nearest] * share(gpus) / share(nearest), True


def storage_usd_per_hour(machines: Machines, settings: Settings) -> float:
    """What the storage costs while the pipeline runs; providers bill at least the storage's smallest size.

    Raises:
        InputError: the storage is not in the registry, or its price is not known.
    """
    if settings.storage is None:
        return 0.0
    storage: Storage | None = machines.storage.get(settings.storage)
    if storage is None:
        raise InputError(f"no storage is called '{settings.storage}'; known: {', '.join(sorted(machines.storage))}")
    if storage.usd_per_gb_month is None:
        raise InputError(
            f"the price of storage '{storage.name}' is not known: {'; '.join(storage.notes) or 'no source'}"
        )
    return storage.usd_per_gb_month * max(settings.storage_gb, storage.minimum_gb or 0.0) / HOURS_PER_MONTH


def _instance(machines: Machines, name: str) -> Instance:
    if name not in machines.instances:
        raise InputError(f"instance '{name}' is not in the registry ('cryorepro registry machines' lists it)")
    return machines.instances[name]


def _check_gpus(table: TimesTable, gpus: Mapping[str, int]) -> None:
    for stage in table.stages:
        for time in stage.times:
            if time.gpus > gpus[time.instance]:
                has = gpus[time.instance]
                raise InputError(
                    f"stage '{stage.name}': a time on {time.gpus} GPUs of {time.instance}, which has {has}"
                )


def _offers(instance: Instance, settings: Settings) -> list[Offer]:
    gpus = instance.gpus.count if instance.gpus else 0
    price = instance.price_on(settings.day, settings.region)
    found = [Offer(instance.name, price.usd_per_hour, gpus)] if price else []
    spot = settings.spot_usd_per_hour.get(instance.name)
    if spot is not None:
        found.append(Offer(instance.name, spot, gpus, spot=True))
    if not found:
        raise InputError(f"no price of {instance.name} in {settings.region} is known; give one with --spot-price")
    return found


def _expected(hours: float, offer: Offer, settings: Settings) -> float:
    return expected_hours(hours, settings.interruptions) if offer.spot else hours


def _together(
    stages: Sequence[StageTimes], offers: Sequence[Offer], settings: Settings
) -> dict[tuple[int, int], dict[int, float]]:
    """Groups of neighbouring stages whose jobs all take one GPU, packed onto the GPUs of each offer."""
    found: dict[tuple[int, int], dict[int, float]] = {}
    for group in dict.fromkeys(stage.group for stage in stages if stage.group):
        members = [k for k, stage in enumerate(stages) if stage.group == group]
        if len(members) < 2:
            continue
        by_offer = {}
        for o, offer in enumerate(offers):
            single = [job_hours(stages[k], offer.instance, 1) for k in members]
            if offer.gpus < 2 or any(timed is None for timed in single):
                continue
            jobs = [timed[0] for k, timed in zip(members, single, strict=True) if timed for _ in range(stages[k].jobs)]
            hours = _expected(shortest_makespan(jobs, offer.gpus), offer, settings)
            if math.isfinite(hours):
                by_offer[o] = hours
        if by_offer:
            found[members[0], members[-1]] = by_offer
    return found
