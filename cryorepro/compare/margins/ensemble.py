"""Runs an ensemble for calibration: one set of seeds for each number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryorepro.compare.ensemble.plan import members, options_of
from cryorepro.compare.ensemble.run import continue_set, member_runs, start_set
from cryorepro.compare.reproduce import EXIT_INTERRUPTED, require_runners
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.store.home import Home
from cryorepro.workflow.context import Listener
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import make_plan


def run_ensemble(
    home: Home, catalogue: Catalogue, spec: Path, base: RunOptions, runners: Sequence[str], seeds: Sequence[int],
    threads: Sequence[int], listener: Listener, command: list[str],
) -> tuple[list[dict[str, Any]], str | None]:  # fmt: skip
    """Every run of the ensemble, and the name of a set that was interrupted, if one was.

    Raises:
        InputError: a plan cannot work here; nothing has run then.
        StoreError: a run cannot be recorded.
    """
    chosen = members(runners, seeds)
    settings = [base.model_copy(update={"threads": number}) for number in threads]
    for options in settings:
        for member in chosen:
            require_runners(catalogue, make_plan(catalogue, spec, options_of(member, options)))
    runs: list[dict[str, Any]] = []
    for options in settings:
        plan = make_plan(catalogue, spec, options_of(chosen[0], options))
        directory = start_set(home, plan, chosen, command)
        listener("set_started", {"set": directory.name})
        record = continue_set(home, catalogue, directory, listener)
        runs += [run for group in member_runs(home, directory).values() for run in group]
        if record["exit_code"] == EXIT_INTERRUPTED:
            return runs, directory.name
    return runs, None
