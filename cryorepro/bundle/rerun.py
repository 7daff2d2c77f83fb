"""Repeats a bundle's run here: the same benchmark, parameters and seeds, with what is installed here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryorepro.bundle.against import Between, Comparison, bundle_origin, hold_against
from cryorepro.bundle.layout import SPEC
from cryorepro.bundle.read import Bundle
from cryorepro.bundle.zipread import Archive
from cryorepro.compare.reproduce import attempt, require_runners
from cryorepro.em.errors import InputError
from cryorepro.model.outcome import OutcomeWord
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.types import Runner
from cryorepro.store.home import Home
from cryorepro.workflow.context import Listener
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import RunPlan, make_plan
from cryorepro.workflow.session import start_run


@dataclass(frozen=True)
class Rerun:
    """A run here and how it stands to the authors' run."""

    record: dict[str, Any]
    rows: list[Comparison]
    word: OutcomeWord
    between: Between


def plan_again(catalogue: Catalogue, bundle: Bundle, changes: dict[str, Any]) -> RunPlan:
    """The plan of the bundle's run, with ``changes`` of its options (threads, device, data_path, runners …).

    Names in a bundle are looked up among the installed plugins; a bundle never brings one along.

    Raises:
        InputError: a plugin that the run used is not installed here, or cannot work here.
    """
    # Where things run and which files are read is for the person here to say, never for a bundle.
    theirs = {**bundle.facts.info.options.model_dump(mode="json"), "data_path": None, "executor": "local"}
    options = RunOptions.model_validate({**theirs, **changes})
    runners = changes.get("runners") or bundle.facts.settings["runners"]
    installed = {entry.name for entry in catalogue.all(Runner)}
    for runner in sorted(set(runners.values()) - installed):
        raise InputError(f"runner '{runner}' is not installed here, and a bundle never installs or imports anything")
    with tempfile.TemporaryDirectory(prefix="cryorepro-bundle-") as folder, Archive.open(bundle.path) as archive:
        spec = Path(folder) / SPEC
        spec.write_bytes(archive.read(SPEC))
        plan = make_plan(catalogue, spec, options)
    require_runners(catalogue, plan)
    return plan


def reproduce_bundle(
    home: Home, catalogue: Catalogue, bundle: Bundle, changes: dict[str, Any], listener: Listener, command: list[str]
) -> Rerun:
    """Run it here as one's own run, and hold it against the authors'.

    Raises:
        InputError: as :func:`plan_again`.
        StoreError: the run cannot be recorded.
    """
    plan = plan_again(catalogue, bundle, changes)
    directory = start_run(home, catalogue, plan, command)
    started = {"run": directory.uid, "benchmark": plan.benchmark.name, "tier": plan.options.tier}
    listener("run_started", started)
    record = attempt(home, catalogue, directory, plan, listener)
    theirs = {**bundle.facts.record, "origin": bundle_origin(bundle, home)}
    between = hold_against(bundle.facts.benchmark, theirs, record)
    if record["status"] == "failed":
        rows = [replace(row, word="failed", reason=str(record["reason"])) for row in between.rows]
        return Rerun(record, rows, "failed", between)
    return Rerun(record, between.rows, between.word, between)
