"""Rule: a run did not end before its work could be done.

Runs of one stage on one machine are compared. A step that uses its devices does about the same work in all of them, so
time multiplied by devices should not fall; a step that does not use them takes about the same time. A time that is far
too small by both counts belongs to a run that stopped early. Where the number of devices is not recorded, the time is
held against the fastest sound run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from cryorepro.compare.claims_lint.finding import Finding, Record, about, devices, grouped, minutes
from cryorepro.model.claim import Claim

# The processor code of RELION differs by a factor of 4 between builds of the record; twice that is beyond any build.
FACTOR = 8.0
# With the number of devices unknown the fastest sound run is the measure, and it used the most devices there are.
FACTOR_UNKNOWN = 4.0

# A step that at most a quarter of a workload's runs have does not belong to it, so those runs say nothing about it.
RARE = 0.25


def check_too_short(record: Record) -> Iterator[Finding]:
    """Times that are too short for the work that other runs of the same stage did."""
    for same in grouped(record.times, stage).values():
        short, sound = split(same)
        yield from _findings(short, sound)
    yield from _elsewhere(record)


def split(same: Sequence[Claim]) -> tuple[list[Claim], list[Claim]]:
    """The times of one stage on one machine that are too short, and the sound ones."""
    counted = [(claim, count) for claim in same if (count := devices(claim)) is not None]
    most_work = max((claim.value * count for claim, count in counted), default=0.0)
    longest = max((claim.value for claim in same), default=0.0)
    short = [
        claim for claim, count in counted if claim.value * count < most_work / FACTOR and claim.value < longest / FACTOR
    ]
    ended = {claim.id for claim in short}
    sound = [claim for claim, _ in counted if claim.id not in ended]
    uncounted = [claim for claim in same if devices(claim) is None]
    if sound:
        fastest = min(claim.value for claim in sound)
        short += [claim for claim in uncounted if claim.value < fastest / FACTOR_UNKNOWN]
    return short, sound


def stage(claim: Claim) -> tuple[str, str, str, str | None] | None:
    """What makes two times comparable here: workload, machine, software and step; None when no machine is named."""
    return (claim.workload, claim.system, claim.software, claim.step) if claim.system else None


def _findings(short: list[Claim], sound: list[Claim]) -> Iterator[Finding]:
    examples = {devices(claim) or 0: claim for claim in sorted(sound, key=lambda claim: claim.id, reverse=True)}
    counts = sorted(examples)
    for claim in short:
        place = bisect_left(counts, devices(claim) or 0)
        around = counts[max(place - 1, 0) : place + 1]
        nearest = examples[min(around, key=lambda count: abs(count - (devices(claim) or 0)))]
        yield Finding(
            "too-short",
            (claim.id, nearest.id),
            f"{minutes(claim.value)} for {about(claim)}, {minutes(nearest.value)} for {about(nearest)}",
        )


def _elsewhere(record: Record) -> Iterator[Finding]:
    """Steps that few runs of their workload have, held against the same program in other workloads."""
    steps = [claim for claim in record.times if claim.step is not None]
    programs = grouped(steps, _program)
    for same in grouped(steps, lambda claim: claim.workload).values():
        runs = len({claim.run for claim in same})
        for rare in grouped(same, lambda claim: claim.step).values():
            if len({claim.run for claim in rare}) <= RARE * runs:
                for claim in rare:
                    others = [one for one in programs.get(_program(claim), []) if one.workload != claim.workload]
                    short, sound = split([claim, *others])
                    yield from _findings([one for one in short if one.id == claim.id], sound)


def _program(claim: Claim) -> tuple[str, str, str, str] | None:
    if claim.step is None or claim.system is None:
        return None
    return claim.dataset, claim.system, claim.software, claim.step.split(" (")[0]
