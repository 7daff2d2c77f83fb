"""A verdict asked for over runs that are there already: alone against what is expected, or against other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryorepro.compare.comparability.compare import Comparability, compare_keys
from cryorepro.compare.comparability.keys import known_keys
from cryorepro.compare.conclude import claims_of
from cryorepro.compare.ensemble.judge import judge_groups, judge_pair
from cryorepro.model.benchmark import Benchmark

Run = Mapping[str, Any]


def ask(benchmark: Benchmark, runs: Sequence[Run], against: Sequence[Run] = ()) -> dict[str, Any]:
    """``word``, ``groups`` and ``between`` as a set's verdict has them.

    Runs that are judged together must be replicates: where their science keys differ in what breaks comparability,
    or one side used several programs, the word is ``not-comparable`` and nothing is averaged. Without another side,
    each program's runs are a group, and the groups are compared.
    """
    apart = not_replicates(benchmark, runs) or not_replicates(benchmark, against)
    if apart is not None:
        return _refused(apart.reasons("science")[0])
    groups = _by_program(runs)
    if not against:
        return judge_groups(benchmark, claims_of(benchmark), groups)
    for side in (groups, _by_program(against)):
        if len(side) > 1:
            return _refused(f"{' and '.join(side)} are different programs on one side")
    pair = judge_pair("those", "these", benchmark, against, runs)
    return {"word": pair["word"], "groups": {}, "between": [pair]}


def _refused(reason: str) -> dict[str, Any]:
    return {"word": "not-comparable", "reason": reason, "groups": {}, "between": []}


def _by_program(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(", ".join(dict.fromkeys(run["settings"]["runners"].values())), []).append(run)
    return groups


def not_replicates(benchmark: Benchmark, runs: Sequence[Run]) -> Comparability | None:
    """Why the runs are no replicates of each other; None when they are."""
    if len(runs) < 2:
        return None
    first = known_keys(runs[0], benchmark)
    answers = (compare_keys(first, known_keys(run, benchmark)) for run in runs[1:])
    return next((answer for answer in answers if answer.science == "not-comparable"), None)
