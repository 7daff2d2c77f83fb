"""The verdict over a set: each runner's group against what is expected, and the groups against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from cryorepro.compare.judge import judge, overall, performance
from cryorepro.compare.verdict.between import compare_groups
from cryorepro.compare.verdict.words import worst
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.claim import Claim
from cryorepro.model.outcome import OutcomeWord

Run = Mapping[str, Any]


def judge_groups(
    benchmark: Benchmark, claims: Mapping[str, Claim], groups: Mapping[str, Sequence[Run]]
) -> dict[str, Any]:
    """Verdicts as plain data: ``word``, ``groups`` by label and ``between`` for every pair of them.

    The set's word is the worst of all: what holds for one runner and not for another does not hold.
    """
    judged = {label: _group(benchmark, claims, runs) for label, runs in groups.items()}
    pairs = [
        judge_pair(first, second, benchmark, groups[first], groups[second]) for first, second in combinations(groups, 2)
    ]
    words = [group["word"] for group in judged.values()] + [pair["word"] for pair in pairs]
    return {"word": worst(words), "groups": judged, "between": pairs}


def _group(benchmark: Benchmark, claims: Mapping[str, Claim], runs: Sequence[Run]) -> dict[str, Any]:
    verdicts = judge(benchmark, claims, runs)
    time, why = performance(verdicts)
    completed = sum(run["status"] == "completed" for run in runs)
    return {
        "word": _word(benchmark, verdicts, completed),
        "runs": len(runs),
        "completed": completed,
        "performance": time,
        "performance_reason": why,
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
    }


def _word(benchmark: Benchmark, verdicts: list[Any], completed: int) -> OutcomeWord:
    return overall(benchmark, verdicts) if completed else "failed"


def judge_pair(
    first: str, second: str, benchmark: Benchmark, theirs: Sequence[Run], ours: Sequence[Run]
) -> dict[str, Any]:
    """The second group held against the first, as plain data."""
    found = compare_groups(benchmark, theirs, ours)
    return {
        "first": first,
        "second": second,
        "word": found.word,
        "performance": found.performance,
        "performance_reason": found.performance_reason,
        "assurance": found.assurance,
        "signed": found.signed,
        "comparability": found.comparability.science,
        "rules_version": found.comparability.rules_version,
        "caveats": found.caveats,
        "rows": [asdict(row) for row in found.rows],
    }
