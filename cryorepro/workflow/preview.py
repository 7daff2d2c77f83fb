"""The exact commands of a plan, without running a stage (``--dry-run``).

Data are prepared first, because commands depend on them. An input that an earlier stage would write is shown by
the place it would have.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageRequest
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.implementation import guarded, instantiate
from cryorepro.plugins.types import Runner
from cryorepro.store.home import Home
from cryorepro.workflow.execute import data_request
from cryorepro.workflow.plan import PlannedStage, RunPlan, stage_seed
from cryorepro.workflow.prepare import prepare
from cryorepro.workflow.rundir import RunDirectory


def preview(home: Home, catalogue: Catalogue, plan: RunPlan) -> list[tuple[str, str]]:
    """Stage name and shell command of every stage.

    Raises:
        InputError: the data cannot be prepared, or a runner refuses a stage.
    """
    manifest = prepare(plan.benchmark.dataset, data_request(home, plan))
    files = {entry["role"]: Path(entry["path"]) for entry in manifest["files"]}
    directory = RunDirectory(home.runs / "RUN")
    return [(stage.name, _command(catalogue, plan, directory, stage, files)) for stage in plan.stages]


def _command(
    catalogue: Catalogue, plan: RunPlan, directory: RunDirectory, stage: PlannedStage, files: dict[str, Path]
) -> str:
    inputs: dict[str, Path] = {}
    waits = False
    for role, source in stage.spec.inputs.items():
        origin, _, wanted = source.partition(".")
        if origin != "data":
            waits = True
            folder = next(other.folder for other in plan.stages if other.name == origin)
            inputs[role] = directory.root / "stages" / folder / wanted
        elif wanted in files:
            inputs[role] = files[wanted]
        else:
            raise InputError(f"stage '{stage.name}' needs {source}, which the dataset does not provide")
    request = StageRequest(
        stage=stage.name,
        kind=stage.spec.kind,
        parameters=stage.parameters,
        inputs=inputs,
        output_dir=directory.stage(stage),
        seed=stage_seed(plan.options.seed, stage.name),
        threads=plan.options.threads,
        processes=plan.options.processes,
        device=plan.options.device,
        deterministic=plan.options.deterministic,
    )
    registered = catalogue.get(Runner, stage.runner)
    runner = instantiate(registered)
    try:
        with guarded(registered, f"planning stage '{stage.name}'"):
            command = runner.plan(request)
    except InputError as error:
        if not waits:
            raise
        return f"# known once {', '.join(sorted(stage.spec.inputs.values()))} exist ({error})"
    assignments = [f"{name}={shlex.quote(value)}" for name, value in sorted(command.environment.items())]
    return f"cd {shlex.quote(str(command.cwd))} && " + " ".join([*assignments, shlex.join(command.argv)])
