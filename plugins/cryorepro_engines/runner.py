"""Plans and checks the project's own stage programs; the numerics are in the programs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_job import IncompleteJob
from cryorepro.model.stage import Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro_engines.kinds import KINDS
from cryorepro_engines.programs._main import THREAD_VARIABLES


class RelionLikeRunner:
    """Carries stages out with the project's own programs, on the device the run asks for."""

    def plan(self, request: StageRequest) -> StageCommand:
        """The program of this stage kind with the request as its argument.

        Raises:
            InputError: this runner has no such stage, or an input is not given or not there.
        """
        request = self._effective(request)
        _check_inputs(request)
        # Looking for plugins of pydantic takes a tenth of a program's start, and none is meant to change it.
        environment = {"PYTHONHASHSEED": "0", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(request.threads))
        if request.deterministic and request.device.startswith("cuda"):
            # cuBLAS repeats its sums in one order only with a workspace of fixed size (its documentation,
            # 2.1.4).
            environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        # -P: a file in the working directory must not stand in for a module.
        module = f"cryorepro_engines.programs.{request.kind}"
        argv = [sys.executable, "-P", "-m", module, "--request-json", request.model_dump_json()]
        return StageCommand(argv=argv, environment=environment, cwd=request.output_dir)

    def progress(self, request: StageRequest) -> Progress | None:
        """The last iteration whose files are there."""
        kind = KINDS.get(request.kind)
        return kind.progress(request) if kind and kind.progress else None

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        """Check the files the program left and read its seed back.

        Raises:
            StageFailure: a file is missing or wrong, or another seed was used than the one asked for.
        """
        del log
        try:
            effective = self._effective(request)
            report = KINDS[request.kind].inspect(effective)
        except IncompleteJob as error:
            raise StageFailure("incomplete-output", str(error)) from error
        except InputError as error:  # an input that was there when the stage was planned
            raise StageFailure("data", str(error)) from error
        seed = report.optimiser.random_seed if report.optimiser else None
        if seed is not None and seed != request.seed:
            raise StageFailure("setup", f"the program used seed {seed}, not {request.seed}")
        return StageResult(
            outputs=report.outputs,
            iterations=report.iterations,
            rows=report.rows,
            seed=seed,
            numbers=report.numbers,
            notes=[*report.notes, *_about_device(request, effective)],
        )

    def version(self) -> Mapping[str, str]:
        """Versions of what computes; packages are looked up, not imported."""
        found = {"name": "cryorepro", "python": platform.python_version()}
        for package in ("cryorepro", "torch", "numpy", "scipy"):
            try:
                found["version" if package == "cryorepro" else package] = version(package)
            except PackageNotFoundError:
                found["version" if package == "cryorepro" else package] = "not installed"
        return found

    def _effective(self, request: StageRequest) -> StageRequest:
        """The request as the program will get it."""
        kind = KINDS.get(request.kind)
        return request.model_copy(update={"device": "cpu"}) if kind and kind.cpu_only else request


class CpuOnlyRunner(RelionLikeRunner):
    """The same programs on the CPU in deterministic mode: the same bits on any number of threads."""

    def _effective(self, request: StageRequest) -> StageRequest:
        return request.model_copy(update={"device": "cpu", "deterministic": True})


def _about_device(asked: StageRequest, effective: StageRequest) -> list[str]:
    """That the stage ran elsewhere than the run asked for, if it did."""
    return [] if asked.device == effective.device else [f"ran on {effective.device}, not on {asked.device}"]


def _check_inputs(request: StageRequest) -> None:
    kind = KINDS.get(request.kind)
    if kind is None:
        raise InputError(f"stage {request.stage}: this runner has no stage of kind '{request.kind}'.")
    missing = [role for role in kind.required if role not in request.inputs]
    if request.kind == "refine3d" and not request.parameters.get("use_input_poses"):
        missing += [] if "reference" in request.inputs else ["reference"]
    if missing:
        raise InputError(f"stage {request.stage}: inputs.{missing[0]} is not given.")
    for role, path in request.inputs.items():
        if not path.is_file():
            raise InputError(f"stage {request.stage}: inputs.{role}: {path} does not exist.")
