"""Why two runs may or may not be held against each other, with the machine's differences ranked beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.compare.comparability.compare import Comparability, compare_keys
from cryorepro.compare.comparability.keys import keys_of
from cryorepro.compare.fingerprints import FingerprintDiff, diff_fingerprints
from cryorepro.model.base import Record
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.fingerprint import ProbeResult


class Explanation(Record):
    """Both keys' digests, what differs in them and what follows, and the machines field by field."""

    runs: tuple[str, str]
    science_sha256: tuple[str, str]
    performance_sha256: tuple[str, str]
    comparability: Comparability
    machine: FingerprintDiff


def explain(
    first: Mapping[str, Any], first_benchmark: Benchmark, second: Mapping[str, Any], second_benchmark: Benchmark
) -> Explanation:
    """Hold the keys and the fingerprints of two runs against each other; each has the benchmark it was run with."""
    one, other = keys_of(first, first_benchmark), keys_of(second, second_benchmark)
    left, right = ([ProbeResult.model_validate(probe) for probe in record["fingerprint"]] for record in (first, second))
    return Explanation(
        runs=(first["run"], second["run"]),
        science_sha256=(one.science_sha256, other.science_sha256),
        performance_sha256=(one.performance_sha256, other.performance_sha256),
        comparability=compare_keys(one, other),
        machine=diff_fingerprints(left, right),
    )
