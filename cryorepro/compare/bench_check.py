"""What keeps a benchmark record from being taken into the registry."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from cryorepro.compare.bench_files import load_bench
from cryorepro.em.errors import InputError
from cryorepro.model.bench import BENCH_VERSION, BenchRecord, BenchTest
from cryorepro.model.claim import Claim
from cryorepro.model.registry import load_claims
from cryorepro.model.shipped import shipped

_PERSONAL = re.compile(r"(?<![\w.<>])/(?:home|Users|root|mnt|data|scratch|gpfs|lustre)/|[\w.+-]+@[\w-]+\.\w{2,}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{2,60}\.json")
WARM = 0.05
"""Of a file's pages; the same share that makes a run's cache warm."""


def check_contribution(path: Path, claims: dict[str, Claim] | None = None) -> list[str]:
    """Everything that keeps the file from being taken into ``registry/bench/``; empty when nothing does.

    A record that others published is taken when it says where, and each of its times is a claim of the registry.

    Raises:
        InputError: the file cannot be read as a record at all.
    """
    record = load_bench(str(path))
    problems = []
    if not _NAME.fullmatch(path.name):
        problems.append("the file's name must be lower-case letters, digits and hyphens, such as a100-epyc7543.json")
    if record.schema_version != BENCH_VERSION:
        problems.append(f"benchmark version {record.schema_version}; this is version {BENCH_VERSION}")
    if not record.title:
        problems.append("title is missing: a name for the machine that others can read (--title)")
    if record.citation is not None:
        problems += _published(record, claims if claims is not None else load_claims())
    elif record.source != "cryorepro":
        problems.append("only records of cryorepro bench are taken, and published ones with their citation")
    else:
        problems += _measured(record)
    names = [test.name for test in record.tests]
    problems += [f"{name}: more than once" for name in sorted({name for name in names if names.count(name) > 1})]
    for test in record.tests:
        problems += _test_problems(test)
    personal = _PERSONAL.search(record.model_dump_json())
    if personal:
        problems.append(f"holds what looks personal: '{personal[0]}'")
    return problems


def check_registered(directory: Path | None = None) -> tuple[int, list[str]]:
    """How many records the registry (or a registry of one's own) holds, and what is wrong with them."""
    files = sorted(((directory or shipped("registry")) / "bench").glob("*.json"))
    problems = []
    for path in files:
        try:
            problems += [f"bench/{path.name}: {problem}" for problem in check_contribution(path)]
        except InputError as error:
            problems.append(str(error))
    return len(files), problems


def _measured(record: BenchRecord) -> list[str]:
    problems = [] if record.fingerprint else ["fingerprint is missing"]
    if record.calibration is None:
        problems.append("the machine's own repeatability is missing (a calibration of 20 s)")
    if not record.tests:
        problems.append("no tests")
    return problems + [f"perturbed ({flag.get('reason')}): {flag.get('detail')}" for flag in record.perturbed]


def _published(record: BenchRecord, claims: dict[str, Claim]) -> list[str]:
    problems = []
    for test in record.tests:
        name = test.checks.get("claim")
        claim = claims.get(str(name))
        if claim is None:
            problems.append(f"{test.name}: checks.claim '{name}' is no claim of the registry")
        elif claim.value != test.median_seconds or claim.unit != "seconds":
            problems.append(f"{test.name}: {test.median_seconds} s, claim {name} says {claim.value} {claim.unit}")
    return problems


def _test_problems(test: BenchTest) -> list[str]:
    problems = []
    if not test.seconds:
        return [f"{test.name}: no times"]
    if abs(statistics.median(test.seconds) - test.median_seconds) > 1e-5 + 1e-6 * test.median_seconds:
        problems.append(f"{test.name}: median_seconds is not the median of its times")
    if min(test.seconds) <= 0:
        problems.append(f"{test.name}: a time of 0 s")
    cached = test.checks.get("cached_before")
    if isinstance(cached, int | float) and cached > WARM:
        problems.append(f"{test.name}: read from a warm cache")
    if test.checks.get("bytes_read", 1) == 0:
        problems.append(f"{test.name}: read nothing")
    return problems
