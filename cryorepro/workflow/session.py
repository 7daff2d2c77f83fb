"""Starts a run, or takes an unfinished one up again."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cryorepro
from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageFailure
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.implementation import instantiate
from cryorepro.plugins.types import Executor
from cryorepro.store.chain import read_events
from cryorepro.store.home import Home
from cryorepro.store.journal import Journal
from cryorepro.store.seal import seal_run
from cryorepro.workflow.context import Context, Interrupted, Listener
from cryorepro.workflow.elapsed import Stopwatch, seconds_of_killed
from cryorepro.workflow.execute import execute
from cryorepro.workflow.files import read_json, write_json
from cryorepro.workflow.history import fold
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import RunPlan, make_plan
from cryorepro.workflow.rundir import RunDirectory

Conclude = Callable[[Journal, RunPlan], object]
"""Gives the verdicts once the stages are done or failed; see :mod:`cryorepro.compare`."""


def start_run(home: Home, catalogue: Catalogue, plan: RunPlan, command: list[str]) -> RunDirectory:
    """Make the directory and journal of a new run.

    Raises:
        StoreError: the store cannot be written.
    """
    uid, path = home.new_run()
    directory = RunDirectory(path)
    directory.spec.write_text(plan.spec_text, encoding="utf-8")
    write_json(directory.options, plan.options.model_dump(mode="json"))
    with Journal.create(path) as journal:
        journal.append("run_created", _created(uid, catalogue, plan, command))
    return directory


def _created(uid: str, catalogue: Catalogue, plan: RunPlan, command: list[str]) -> dict[str, Any]:
    return {
        "run_uid": uid,
        "benchmark": plan.benchmark.name,
        "benchmark_version": plan.benchmark.version,
        "spec_sha256": plan.spec_sha256,
        "dataset": plan.benchmark.dataset,
        "tier": plan.options.tier,
        "tier_parameters": plan.options.data_parameters,
        "seed": plan.options.seed,
        "data_seed": plan.options.data_seed,
        "threads": plan.options.threads,
        "device": plan.options.device,
        "executor": plan.options.executor,
        "deterministic": plan.options.deterministic,
        "cache": plan.options.cache,
        "runners": {stage.name: stage.runner for stage in plan.stages},
        "parameters": {stage.name: stage.parameters for stage in plan.stages},
        "command": command,
        "cryorepro_version": cryorepro.__version__,
        "plugins": [
            {"distribution": plugin.distribution, "version": plugin.version, "plugin": plugin.name}
            for plugin in catalogue.plugins
        ],
    }


def load_plan(catalogue: Catalogue, directory: RunDirectory) -> RunPlan:
    """The plan a run was started with, from its own copy of the benchmark.

    Raises:
        InputError: the run's own files are missing or no longer valid.
    """
    if not directory.options.is_file():
        raise InputError(f"{directory.options}: missing; this run never began")
    options = RunOptions.model_validate(read_json(directory.options))
    return make_plan(catalogue, directory.spec, options)


def continue_run(
    home: Home,
    catalogue: Catalogue,
    directory: RunDirectory,
    plan: RunPlan,
    listener: Listener,
    conclude: Conclude,
) -> str:
    """One attempt at ``directory``'s run, from wherever its journal ends; returns the status it ended with.

    ``completed``, ``failed`` (a stage failed, recorded with its class) or ``interrupted`` (resumable).

    Raises:
        StoreError: the run is sealed, is being written elsewhere, or cannot be recorded.
    """
    with Journal.open(directory.root) as journal:
        events = read_events(directory.root)
        # killed between making the journal and its first event; the plan was written before
        if not any(event.type == "run_created" for event in events):
            journal.append("run_created", _created(directory.uid, catalogue, plan, []))
        history = fold(events)
        if history.ended is not None:  # killed between its last event and its seal
            _seal(journal, history.ended, history.outcomes)
            return history.ended
        if history.open_attempt is not None:
            killed = seconds_of_killed(directory.heartbeat, history.open_attempt)
            _end_attempt(journal, history.open_attempt, "killed", killed, "no end was recorded")
            history.elapsed_seconds += killed
        history.attempts += 1
        journal.append("attempt_started", _attempt(history.attempts))
        watch = Stopwatch(directory.heartbeat, history.attempts)
        executor = instantiate(catalogue.get(Executor, plan.options.executor))
        context = Context(home, catalogue, plan, directory, journal, history, listener, executor, watch)
        status, reason = _guarded_run(context)
        _end_attempt(journal, history.attempts, status, watch.seconds, reason)
        if status == "interrupted":
            return status
        conclude(journal, plan)
        ending = {
            "status": status,
            "reason": reason,
            "elapsed_seconds_all_attempts": history.elapsed_seconds + watch.seconds,
        }
        journal.append("run_ended", ending)
        _seal(journal, status, history.outcomes)
        listener("run_ended", {**ending, "run": directory.uid, "attempts": history.attempts})
        return status


def _guarded_run(context: Context) -> tuple[str, str | None]:
    with _stoppable(context):
        try:
            execute(context)
        except Interrupted:
            return "interrupted", "asked to stop"
        except StageFailure as failure:
            context.say("failed", failure_class=failure.failure_class, message=failure.message)
            return "failed", f"{failure.failure_class}: {failure.message}"
    return "completed", None


@contextmanager
def _stoppable(context: Context) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request to stop, for as long as the attempt runs."""

    def stop(_number: int, _frame: object) -> None:
        context.stopping = True

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _attempt(number: int) -> dict[str, Any]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    boot_id = boot.read_text().strip() if boot.is_file() else ""
    host_hash = hashlib.sha256(f"cryorepro/{platform.node()}".encode()).hexdigest()[:16]
    return {"attempt": number, "pid": os.getpid(), "host_hash": host_hash, "boot_id": boot_id}


def _end_attempt(journal: Journal, number: int, status: str, seconds: float, reason: str | None) -> None:
    content = {"attempt": number, "status": status, "elapsed_seconds": seconds, "reason": reason}
    journal.append("attempt_ended", content)


def _seal(journal: Journal, status: str, outcomes: list[dict[str, Any]]) -> None:
    summary = {row["outcome"]: row["value"]["value"] if row["value"] else row["status"] for row in outcomes}
    seal_run(journal, status, summary)
