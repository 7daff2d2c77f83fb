"""The performance axis: wall times held against each other, or against a published time, where the conditions allow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryorepro.compare.comparability.rules import rule_table
from cryorepro.compare.equivalence import Band, Estimate, against_figure, between, decide
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.claim import Claim
from cryorepro.model.outcome import PerformanceWord

Run = Mapping[str, Any]
Answer = tuple[PerformanceWord, str]
ASKED = ": asked for on the command line"


def wall_seconds(record: Run) -> float | None:
    """Time of all stages of a run; None when one of them did not end."""
    stages = record["stages"].values()
    if not stages or any(stage["status"] != "completed" for stage in stages):
        return None
    return math.fsum(stage["usage"]["wall_seconds"] for stage in stages)


def hold_times(ours: Sequence[Run], theirs: Sequence[Run] | float) -> Answer:
    """Times of a group of runs against another group's, or against one published figure (seconds).

    Conditions are the caller's to check. Ratios are compared, as logarithms, within the band of the rule table.
    """
    times = [time for record in ours if (time := wall_seconds(record))]
    if not times:
        return "not-comparable", "no run here completed its stages"
    disturbed = _disturbed(ours if isinstance(theirs, int | float) else [*ours, *theirs])
    if disturbed:
        return "inconclusive", disturbed
    logs = [math.log(time) for time in times]
    band = Band(math.log1p(rule_table().time_band.percent / 100))
    if isinstance(theirs, int | float):
        if len(logs) < 2:
            return "inconclusive", f"{times[0] / theirs:.2f} of the published time; one run has no spread of its own"
        return _answer(against_figure(logs, math.log(theirs)), band)
    others = [math.log(time) for record in theirs if (time := wall_seconds(record))]
    if not others:
        return "not-comparable", "no run of the other side completed its stages"
    if min(len(logs), len(others)) < 2:
        ratio = math.exp(logs[0] - others[0])
        return "inconclusive", f"{ratio:.2f} of the other's time; one run has no spread of its own"
    return _answer(between(others, logs), band)


def _answer(estimate: Estimate, band: Band) -> Answer:
    low, high = (math.exp(end) for end in estimate.interval)
    text = f"{math.exp(estimate.difference):.2f} of the other's time, 90 % interval {low:.2f} to {high:.2f}"
    percent = rule_table().time_band.percent
    answer = decide(estimate, band)
    if answer == "inside":
        return "matches", f"{text}, within {percent:g} %"
    if answer == "open":
        return "inconclusive", f"{text}, across the band of {percent:g} %"
    return ("faster" if estimate.difference < 0 else "slower"), text


def _disturbed(records: Sequence[Run]) -> str | None:
    """Why the times do not speak for the machine; None when nothing was seen."""
    for record in records:
        for name, stage in record["stages"].items():
            for flag in stage.get("perturbed", []):
                return f"run {record['run']}, stage {name} was perturbed ({flag['reason']})"
            if len(stage["attempts"]) > 1:
                return f"run {record['run']}, stage {name} took {len(stage['attempts'])} attempts"
    return None


def other_conditions(record: Run, claim: Claim, benchmark: Benchmark) -> list[str]:
    """What keeps the run's time from being held against a published one; empty when nothing does.

    What the source does not state cannot be called the same.
    """
    settings, found = record["settings"], departures(record)
    if settings["tier"] != "full":
        found.append(f"tier {settings['tier']}, not the whole deposit")
    if claim.step is not None and len(benchmark.stages) > 1:
        found.append(f"the figure is about '{claim.step}', the run about {len(benchmark.stages)} stages")
    programs = {_program(stage) for stage in record["stages"].values()}
    if not programs or any(not _is_published(program, claim.software) for program in programs):
        here = ", ".join(sorted(" ".join(program) for program in programs)) or "nothing ran"
        found.append(f"published with {claim.software}, here {here}")
    found += _hardware(record, claim)
    if claim.threads is not None and claim.threads != settings["threads"]:
        found.append(f"{claim.threads} threads published, {settings['threads']} here")
    return found


def departures(record: Run) -> list[str]:
    """Parameters that the person who ran it changed and that decide the result, stage by stage."""
    changed = _changed(record)
    return [f"stage {name} was run with another {', '.join(names)}" for name, names in changed.items()]


def altered(record: Run) -> list[str]:
    """Dotted names of what the person changed of the benchmark, for which its expectations were not made."""
    found = [f"{stage}.{name}" for stage, names in _changed(record).items() for name in names]
    return found + [f"data.{name}" for name in sorted(record["settings"].get("tier_parameters") or {})]


def _changed(record: Run) -> dict[str, list[str]]:
    apart = rule_table().run_time_parameters
    found: dict[str, list[str]] = {}
    for stage, content in record["stages"].items():
        for text in content.get("departures", []):
            asked = text.removesuffix(ASKED).split(", ") if text.endswith(ASKED) else []
            names = [name for name in asked if name not in apart]
            if names:
                found.setdefault(stage, []).extend(names)
    return found


def _program(stage: Mapping[str, Any]) -> tuple[str, str]:
    program = stage.get("program", {})
    return str(program.get("name") or "unknown"), str(program.get("version") or "")


def _is_published(program: tuple[str, str], software: str) -> bool:
    """The same name and the same major and minor version; a source that states none is not known to be the same."""
    stated = re.search(r"\d+\.\d+", software)
    return (
        program[0].lower() in software.lower()
        and stated is not None
        and program[1].split(".")[:2] == stated[0].split(".")
    )


def _hardware(record: Run, claim: Claim) -> list[str]:
    probes = {probe["name"]: probe["data"] for probe in record["fingerprint"] if probe["status"] == "ok"}
    on_cpu = record["settings"]["device"] == "cpu"
    if claim.gpus == 0 or (claim.gpus is None and claim.gpu is None):
        model = probes.get("cpu", {}).get("model") or "an unknown processor"
        return [] if on_cpu and model in claim.hardware else [f"published on {claim.hardware}, here on {model}"]
    if on_cpu:
        return [f"published on {claim.hardware}, here on the processor"]
    gpus = [str(gpu.get("name")) for gpu in probes.get("gpu", {}).get("gpus", [])]
    found = []
    if claim.gpu is not None and not all(claim.gpu.lower() in name.lower() for name in gpus):
        found.append(f"published on {claim.gpu}, here on {', '.join(dict.fromkeys(gpus)) or 'no GPU'}")
    if claim.gpus is not None and claim.gpus != len(gpus):
        found.append(f"published on {claim.gpus} GPUs, here {len(gpus)}")
    return found
