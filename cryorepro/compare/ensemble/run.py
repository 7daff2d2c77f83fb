"""Runs a set, or takes an unfinished one up again: one member after the other, each a run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cryorepro
from cryorepro.compare.conclude import claims_of
from cryorepro.compare.ensemble.judge import judge_groups
from cryorepro.compare.ensemble.plan import Member, options_of
from cryorepro.compare.ensemble.record import set_record
from cryorepro.compare.reproduce import EXIT_INTERRUPTED, attempt
from cryorepro.compare.verdict.words import exit_code
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.outcome import OutcomeWord
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.store.home import Home
from cryorepro.store.journal import Journal
from cryorepro.store.seal import seal_run
from cryorepro.store.sets import new_set
from cryorepro.workflow.context import Listener
from cryorepro.workflow.files import read_json, write_json
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import RunPlan, make_plan
from cryorepro.workflow.record import run_record
from cryorepro.workflow.rundir import RunDirectory
from cryorepro.workflow.session import load_plan, start_run


def start_set(home: Home, plan: RunPlan, chosen: Sequence[Member], command: list[str]) -> Path:
    """Make the directory and the journal of a new set; nothing runs yet. ``plan`` is that of any member.

    Raises:
        StoreError: the store cannot be written.
    """
    uid, directory = new_set(home)
    as_run = RunDirectory(directory)
    as_run.spec.write_text(plan.spec_text, encoding="utf-8")
    write_json(as_run.options, plan.options.model_dump(mode="json"))
    with Journal.create(directory) as journal:
        journal.append("set_created", {
            "set_uid": uid,
            "benchmark": plan.benchmark.name,
            "benchmark_version": plan.benchmark.version,
            "spec_sha256": plan.spec_sha256,
            "tier": plan.options.tier,
            "command": command,
            "cryorepro_version": cryorepro.__version__,
            "members": [member.model_dump() for member in chosen],
        })  # fmt: skip
    return directory


def continue_set(
    home: Home, catalogue: Catalogue, directory: Path, listener: Listener, require: OutcomeWord | None = None
) -> dict[str, Any]:
    """Run what is left of a set and judge it; returns the set's record with ``runs`` and ``exit_code``.

    A failed member is kept and the set goes on; an interrupted one ends the attempt, and the set can be resumed.

    Raises:
        InputError: the set has ended already, or its own files are no longer valid.
        StoreError: it cannot be recorded, or is being written elsewhere.
    """
    if set_record(directory)["status"] == "completed":
        raise InputError(f"set {directory.name} has ended; cryorepro show {directory.name}")
    with Journal.open(directory) as journal:
        for member in set_record(directory)["members"]:
            if member["status"] in ("completed", "failed"):
                continue
            listener("member_started", {**member, "set": directory.name, "of": _count(directory)})
            record = _run_member(home, catalogue, directory, journal, member, listener)
            if record["status"] == "interrupted":
                return {**set_record(directory), "exit_code": EXIT_INTERRUPTED}
            end = {"position": member["position"], "run_uid": record["run"]}
            journal.append("member_ended", {**end, "status": record["status"], "reason": record["reason"]})
        verdict = _judge(home, directory)
        journal.append("set_verdict_given", verdict)
        journal.append("set_ended", {"status": "completed"})
        seal_run(journal, "completed", {"word": verdict["word"]})
    return {**set_record(directory), "exit_code": exit_code(verdict["word"], require)}


def member_runs(home: Home, directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of a set's members that were begun, by runner, in the order of their seeds."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for member in sorted(set_record(directory)["members"], key=lambda row: row["seed"]):
        if member["run"] is not None and (home.runs / member["run"]).is_dir():
            groups.setdefault(_label(member, directory), []).append(run_record(home.runs / member["run"]))
    return groups


def _judge(home: Home, directory: Path) -> dict[str, Any]:
    benchmark = load_record(RunDirectory(directory).spec, Benchmark)
    return judge_groups(benchmark, claims_of(benchmark), member_runs(home, directory))


def _label(member: dict[str, Any], directory: Path) -> str:
    return member["runner"] or load_record(RunDirectory(directory).spec, Benchmark).default_runner


def _count(directory: Path) -> int:
    return len(set_record(directory)["members"])


def _run_member(
    home: Home, catalogue: Catalogue, directory: Path, journal: Journal, member: dict[str, Any], listener: Listener
) -> dict[str, Any]:
    """Start the member's run, or go on with it; one that ended while the set was killed is only read."""
    if member["run"] is None:
        base = RunOptions.model_validate(read_json(RunDirectory(directory).options))
        chosen = Member(position=member["position"], runner=member["runner"], seed=member["seed"])
        plan = make_plan(catalogue, RunDirectory(directory).spec, options_of(chosen, base))
        run = start_run(home, catalogue, plan, [f"set {directory.name}"])
        journal.append("member_started", {"position": member["position"], "run_uid": run.uid})
    else:
        run = RunDirectory(home.find_run(member["run"]))
        record = run_record(run.root)
        if record["status"] in ("completed", "failed"):
            return record
        plan = load_plan(catalogue, run)
    return attempt(home, catalogue, run, plan, listener)
