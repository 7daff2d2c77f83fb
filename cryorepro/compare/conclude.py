"""Writes the keys and the verdicts of a finished run into its journal."""

from __future__ import annotations

from typing import Any

from cryorepro.compare.comparability.keys import keys_of
from cryorepro.compare.judge import judge
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.claim import Claim
from cryorepro.model.registry import load_claims
from cryorepro.store.journal import Journal
from cryorepro.workflow.plan import RunPlan
from cryorepro.workflow.record import run_record


def conclude(journal: Journal, plan: RunPlan) -> list[dict[str, Any]]:
    """Judge what was measured and record it; a run that was concluded already keeps its verdicts.

    A failed run is concluded as well: what it did not reach reads ``failed``.

    Raises:
        InputError: the benchmark answers to a claim that is not in the registry.
        StoreError: the journal cannot be written.
    """
    record = run_record(journal.directory)
    if record["verdicts"]:
        return list(record["verdicts"])
    claims = claims_of(plan.benchmark)
    journal.append("keys_recorded", keys_of(record, plan.benchmark).model_dump(mode="json"))
    verdicts = [verdict.model_dump(mode="json") for verdict in judge(plan.benchmark, claims, [record])]
    for verdict in verdicts:
        journal.append("verdict_given", verdict)
    return verdicts


def claims_of(benchmark: Benchmark) -> dict[str, Claim]:
    """The registry's claims, which must hold every one that the benchmark answers to.

    Raises:
        InputError: one is missing.
    """
    claims = load_claims()
    missing = [identifier for identifier in benchmark.claims if identifier not in claims]
    if missing:
        raise InputError(f"benchmark '{benchmark.name}': claim '{missing[0]}' is not in the registry")
    return claims
