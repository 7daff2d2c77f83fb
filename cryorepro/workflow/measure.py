"""Measures outcomes from artifacts whose lineage holds, in a process of its own.

    python -m cryorepro.workflow.measure JOB.json

A metric that fails makes its outcome ``unverifiable`` with the reason; it never yields a number, and it never
stops the others.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import OutcomeSpec
from cryorepro.model.dataset import PreparedData
from cryorepro.model.outcome import MetricValue, Outcome
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.implementation import guarded, instantiate
from cryorepro.plugins.interfaces import MetricContext
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import Metric
from cryorepro.workflow.files import read_json, sha256_of, write_json


def main(job_file: Path) -> int:
    """Measure every outcome of the job and write the list to its ``result``."""
    job = read_json(job_file)
    catalogue = load_catalogue()
    outcomes = [measure(catalogue, job, OutcomeSpec.model_validate(spec)) for spec in job["outcomes"]]
    write_json(Path(job["result"]), [outcome.model_dump(mode="json") for outcome in outcomes])
    return 0


def measure(catalogue: Catalogue, job: dict[str, Any], spec: OutcomeSpec) -> Outcome:
    """One outcome, measured or unverifiable with the reason."""
    stage = job["stages"][spec.stage]
    files = [(entry["role"], Path(job["run"]) / entry["path"], entry["sha256"]) for entry in stage["outputs"]]
    try:
        _check_hashes(files)
        value = _value(catalogue, job, spec, {role: path for role, path, _ in files})
    except InputError as error:
        return Outcome(name=spec.name, metric=spec.metric, stage=spec.stage, status="unverifiable", reason=str(error))
    return Outcome(
        name=spec.name,
        metric=spec.metric,
        stage=spec.stage,
        status="measured",
        value=value,
        artifacts={entry["path"]: entry["sha256"] for entry in stage["outputs"]},
    )


def _check_hashes(files: list[tuple[str, Path, str]]) -> None:
    for role, path, expected in files:
        if not path.is_file() or sha256_of(path) != expected:
            raise InputError(f"artifact '{role}' ({path.name}) is not the file the stage wrote")


def _value(catalogue: Catalogue, job: dict[str, Any], spec: OutcomeSpec, artifacts: dict[str, Path]) -> MetricValue:
    registered = catalogue.get(Metric, spec.metric)
    truth = {entry["role"]: Path(entry["path"]) for entry in job["data"]["truth"]}
    if registered.descriptor.needs_truth and not truth:
        raise InputError(f"metric '{spec.metric}' needs a truth, and only a twin has one")
    stage = job["stages"][spec.stage]
    output_dir = Path(job["run"]) / "outcomes" / spec.name
    output_dir.mkdir(parents=True, exist_ok=True)
    context = MetricContext(
        artifacts=artifacts,
        data=PreparedData.model_validate(job["data"]["prepared"]),
        truth=truth,
        stage_parameters=stage["parameters"],
        numbers=stage["numbers"],
        parameters=spec.parameters,
        output_dir=output_dir,
    )
    metric = instantiate(registered)
    with guarded(registered, "measuring"):
        value = MetricValue.model_validate(metric.measure(context))
    if not math.isfinite(value.value):
        raise InputError(f"metric '{spec.metric}' gave {value.value}, which is not a number")
    return value


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
