"""Writes the verdicts of a finished run into its journal."""

from __future__ import annotations

from typing import Any

from cryorepro.compare.judge import judge
from cryorepro.em.errors import InputError
from cryorepro.model.registry import load_claims
from cryorepro.store.chain import read_events
from cryorepro.store.journal import Journal
from cryorepro.workflow.history import fold
from cryorepro.workflow.plan import RunPlan


def conclude(journal: Journal, plan: RunPlan) -> list[dict[str, Any]]:
    """Judge what was measured and record it; a run that was concluded already keeps its verdicts.

    A failed run is concluded as well: what it did not reach reads ``failed``.

    Raises:
        InputError: the benchmark answers to a claim that is not in the registry.
        StoreError: the journal cannot be written.
    """
    events = read_events(journal.directory)
    given = [event.data for event in events if event.type == "verdict_given"]
    if given:
        return given
    claims = load_claims()
    missing = [identifier for identifier in plan.benchmark.claims if identifier not in claims]
    if missing:
        raise InputError(f"benchmark '{plan.benchmark.name}': claim '{missing[0]}' is not in the registry")
    outcomes = {row["outcome"]: row for row in fold(events).outcomes}
    verdicts = judge(plan.benchmark, plan.options.tier, claims, outcomes)
    records = [verdict.model_dump(mode="json") for verdict in verdicts]
    for record in records:
        journal.append("verdict_given", record)
    return records
