"""Whether every outcome of a bundle leads back to files that a completed stage of the same run wrote."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.facts import Facts
from cryorepro.bundle.read import Bundle

_SLACK_SECONDS, _SLACK = 2.0, 0.02
"""Between a stage's own clock and the times of its events; attempts begin and end around their stages."""


def lineage_problems(facts: Facts) -> list[str]:
    """One sentence for each outcome that does not lead back."""
    problems = []
    stages = facts.record["stages"]
    for name, outcome in facts.record["outcomes"].items():
        if outcome["status"] != "measured":
            continue
        stage = stages.get(outcome["stage"])
        wrong = _stage_problem(stage) or _artifact_problem(outcome, stage or {})
        if wrong:
            problems.append(f"outcome '{name}' has no lineage in this run: {wrong}")
    return problems + [
        f"stage '{name}': input '{entry['role']}' is no output of stage '{entry['from_stage']}'"
        for name, stage in stages.items()
        for entry in stage.get("inputs", [])
        if entry["from_stage"] and not _made(stages.get(entry["from_stage"]), entry["sha256"])
    ]


def _made(stage: dict[str, Any] | None, sha256: str) -> bool:
    return stage is not None and any(entry["sha256"] == sha256 for entry in stage["outputs"])


def _stage_problem(stage: dict[str, Any] | None) -> str | None:
    if stage is None or "argv" not in stage:
        return "its stage never ran"
    last = stage["attempts"][-1] if stage["attempts"] else {}
    if stage["status"] != "completed" or last.get("exit_code") != 0:
        return f"its stage ended as {stage['status']} with exit code {last.get('exit_code')}"
    if stage["seed_read_back"] not in (None, stage["seed"]):
        return f"its stage used seed {stage['seed_read_back']} where {stage['seed']} was asked for"
    return None


def _artifact_problem(outcome: dict[str, Any], stage: dict[str, Any]) -> str | None:
    written = {entry["path"]: entry["sha256"] for entry in stage["outputs"]}
    if not outcome["artifacts"]:
        return "it names no file that it was measured on"
    strange = [path for path, sha256 in outcome["artifacts"].items() if written.get(path) != sha256]
    return f"'{strange[0]}' is no file that its stage wrote" if strange else None


def artifact_problems(bundle: Bundle) -> list[str]:
    """One sentence for each output in the bundle that is not the one of the journal."""
    problems = []
    stages = bundle.facts.record["stages"]
    for row in bundle.facts.info.artifacts:
        written = {entry["path"]: entry for entry in stages.get(row.stage, {}).get("outputs", [])}
        entry = written.get(row.run_path)
        found = bundle.sums.get(row.member)
        if found is None:
            continue  # reported as missing
        if entry is None or entry["sha256"] != row.sha256_in_run or entry["role"] != row.role:
            problems.append(f"{row.member}: the journal knows no such output of stage '{row.stage}'")
        elif not row.redacted and found.sha256 != row.sha256_in_run:
            problems.append(f"{row.member}: is not the file that stage '{row.stage}' wrote")
    return problems


def time_problems(facts: Facts) -> list[str]:
    """One sentence for each duration that its own parts contradict."""
    problems = []
    for name, stage in facts.record["stages"].items():
        for attempt in stage["attempts"]:
            begun, ended, wall = (attempt.get(key) for key in ("started_at", "ended_at", "wall_seconds"))
            if begun and ended and wall is not None and _apart(wall, ended - begun):
                problems.append(f"stage '{name}': {wall:.1f} s wall time where its clock says {ended - begun:.1f} s")
    parts = sum(attempt.get("elapsed_seconds") or 0 for attempt in facts.record["attempts"])
    total = facts.record["elapsed_seconds"]
    if _apart(total, parts):
        problems.append(f"elapsed time: {total:.1f} s, and its attempts add up to {parts:.1f} s")
    return problems


def _apart(left: float, right: float) -> bool:
    return abs(left - right) > _SLACK_SECONDS + _SLACK * max(abs(left), abs(right))
