"""The main job: from a benchmark's name to verdicts and an exit code a script can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.compare.conclude import conclude
from cryorepro.compare.judge import overall
from cryorepro.compare.verdict.words import exit_code as exit_code_of
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.outcome import OutcomeWord, Verdict
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.doctor import missing_requirements
from cryorepro.plugins.implementation import spec_path
from cryorepro.plugins.types import Runner, Spec
from cryorepro.store.home import Home
from cryorepro.workflow.context import Listener
from cryorepro.workflow.plan import RunPlan
from cryorepro.workflow.record import run_record
from cryorepro.workflow.rundir import RunDirectory
from cryorepro.workflow.session import continue_run

EXIT_INTERRUPTED = 130
_INPUT_FAILURES = ("data:", "setup:")


def find_spec(catalogue: Catalogue, name: str) -> Path:
    """The YAML file of a registered benchmark, or ``name`` itself when it is a file.

    Raises:
        InputError: neither.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if not path.is_file():
            raise InputError(f"{name}: no such file")
        return path.resolve()
    return spec_path(catalogue.get(Spec, name.lower()))


def require_runners(catalogue: Catalogue, plan: RunPlan) -> None:
    """Refuse a plan whose runners lack something on this machine.

    Raises:
        InputError: names the runner and what it lacks.
    """
    for name in sorted({stage.runner for stage in plan.stages}):
        missing = missing_requirements(catalogue.get(Runner, name).descriptor)
        if missing:
            raise InputError(f"runner '{name}' cannot work here: {'; '.join(missing)}")


def attempt(
    home: Home,
    catalogue: Catalogue,
    directory: RunDirectory,
    plan: RunPlan,
    listener: Listener,
    require: OutcomeWord | None = None,
) -> dict[str, Any]:
    """One attempt at a run and its verdicts; returns the run's record with ``exit_code`` and ``verdict``.

    ``require`` is the level of the outcome axis from which on the exit code is 0.

    Raises:
        InputError: the run has already ended.
        StoreError: it cannot be recorded, or is being written elsewhere.
    """
    status = continue_run(home, catalogue, directory, plan, listener, conclude)
    record = run_record(directory.root)
    record["verdict"] = verdict_word(record, plan.benchmark)
    record["exit_code"] = EXIT_INTERRUPTED if status == "interrupted" else exit_code(record, require)
    return record


def verdict_word(record: dict[str, Any], benchmark: Benchmark) -> OutcomeWord:
    """The run's one word: the worst among its required outcomes, or ``failed``."""
    if record["status"] == "failed":
        return "failed"
    verdicts = [Verdict.model_validate(verdict) for verdict in record["verdicts"]]
    return overall(benchmark, verdicts)


def exit_code(record: dict[str, Any], require: OutcomeWord | None = None) -> int:
    """0 when reproduced, else by the verdict's word; 2 when what was given could not be used."""
    if record["status"] == "failed" and str(record["reason"]).startswith(_INPUT_FAILURES):
        return 2
    return exit_code_of(record["verdict"], require)


def verdict_of(directory: Path, record: dict[str, Any]) -> str | None:
    """The word of a finished run, by the benchmark as it was when the run began; None while it is unfinished.

    Raises:
        InputError: the run's copy of its benchmark is missing or malformed.
    """
    if record["status"] not in ("completed", "failed"):
        return None
    return verdict_word(record, load_record(RunDirectory(directory).spec, Benchmark))
