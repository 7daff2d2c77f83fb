"""The runner ``relion``: one module per stage kind plans and inspects, this one decides what to believe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, latest_progress
from cryorepro.em.formats.relion_model import comparable_command, recorded_command
from cryorepro.em.formats.stack_links import link_stacks
from cryorepro.em.formats.star import read_star_text
from cryorepro.model.class2d_stages import Class2DParameters
from cryorepro.model.initial_model_stage import InitialModelParameters
from cryorepro.model.stage import Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro.model.stages import Class3DParameters
from cryorepro_relion import (
    class2d,
    class3d,
    ctfrefine,
    extraction,
    initialmodel,
    inputs,
    localres,
    maskcreate,
    motioncorrection,
    picking,
    postprocess,
    program,
    refine3d,
)

STAGES: Mapping[str, ModuleType] = {
    "class2d": class2d,
    "class3d": class3d,
    "refine3d": refine3d,
    "initialmodel": initialmodel,
    "maskcreate": maskcreate,
    "postprocess": postprocess,
    "localres": localres,
    "ctfrefine": ctfrefine,
    "motioncorrection": motioncorrection,
    "picking": picking,
    "extraction": extraction,
}
REFINEMENTS = ("class2d", "class3d", "refine3d", "initialmodel")
MAX_WARNINGS, MAX_NOTE_CHARACTERS = 8, 300
INVALID_OPTION = "is not a valid RELION argument"


class RelionRunner:
    """Drives the installed RELION."""

    def plan(self, request: StageRequest) -> StageCommand:
        """The exact command; with ``request.resume`` it goes on after the last complete iteration.

        Where no iteration is complete, resuming is starting afresh.

        Raises:
            InputError: RELION cannot do this, or an input is missing or wrong.
        """
        command: StageCommand = _stage(request).plan(request)
        return command

    def progress(self, request: StageRequest) -> Progress | None:
        """The last iteration whose files are there; None for stages without iterations."""
        if request.kind not in REFINEMENTS:
            return None
        classes, total = 1, None
        if request.kind == "class3d":
            parameters = Class3DParameters.model_validate(request.parameters)
            classes, total = parameters.number_of_classes, parameters.iterations
        if request.kind == "class2d":
            flat = Class2DParameters.model_validate(request.parameters)
            classes, total = flat.classes, flat.last_iteration
        if request.kind == "initialmodel":
            initial = InitialModelParameters.model_validate(request.parameters)
            classes, total = initial.number_of_classes or 1, initial.iterations
        found = latest_progress(
            request.output_dir, classes, split_halves=request.kind == "refine3d", stacked=request.kind == "class2d"
        )
        return found and Progress(iteration=found[0], of=total, resolution_angstrom=found[1])

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        """Check the log and the files, whatever the exit code said, and read the seed back.

        Raises:
            StageFailure: an option was not understood, files are missing or wrong, or were written by another
                command or with another seed than the one planned.
        """
        warnings = _read_log(log)
        try:
            report: JobReport = _stage(request).inspect(request)
            notes = [*report.notes, *_stand_alone(request, report), *warnings]
            seed = _seed(request, report)
        except IncompleteJob as error:
            raise StageFailure("incomplete-output", str(error)) from error
        except InputError as error:  # an input that was there when the stage was planned
            raise StageFailure("data", str(error)) from error
        if seed is not None and seed != request.seed:
            raise StageFailure("setup", f"RELION used seed {seed}, not {request.seed}")
        _check_command(request, report)
        return StageResult(
            outputs=report.outputs,
            iterations=report.iterations,
            rows=report.rows,
            seed=seed,
            numbers=report.numbers,
            notes=notes,
        )

    def version(self) -> Mapping[str, str]:
        """Version, precision, package and hashes of the installed programs."""
        return program.describe()


def _stage(request: StageRequest) -> ModuleType:
    if request.kind not in STAGES:
        raise InputError(f"stage {request.stage}: RELION has no stage of kind '{request.kind}' here.")
    return STAGES[request.kind]


def _read_log(log: Path) -> list[str]:
    """RELION's distinct warnings, the first few of them; fails on an option it did not understand."""
    warnings: dict[str, None] = {}
    try:
        with log.open("rb") as stream:
            for line in stream:
                said = line.rpartition(b"\r")[2].decode("utf-8", "replace").strip()[:MAX_NOTE_CHARACTERS]
                if INVALID_OPTION.encode() in line:
                    raise StageFailure("setup", f"RELION ran without an option it does not know: {said}")
                if "WARNING:" in said:
                    warnings[f"RELION: {said}"] = None
    except OSError as error:
        raise StageFailure("extraction", f"{log}: the log cannot be read ({error.strerror})") from error
    return list(warnings)[:MAX_WARNINGS]


def _stand_alone(request: StageRequest, report: JobReport) -> list[str]:
    """Link the stacks beside the table; returns what to know about the offsets it started from."""
    if request.kind not in (*REFINEMENTS, "ctfrefine"):
        return []
    data = inputs.read_input(request, ctf=False)
    link_stacks(request.output_dir / report.outputs["particles"], data.root)
    searched = data.has_offsets and request.kind in REFINEMENTS
    return ["offsets were searched around those of the input table"] if searched else []


def _seed(request: StageRequest, report: JobReport) -> int | None:
    if report.optimiser is not None:
        return report.optimiser.random_seed
    if request.kind != "postprocess":
        return None
    said = recorded_command(read_star_text(request.output_dir / report.outputs["star"])) or ()
    values = [value for name, value in zip(said, said[1:], strict=False) if name == "--random_seed"]
    return int(values[0]) if values and values[0].isdigit() else None


def _check_command(request: StageRequest, report: JobReport) -> None:
    """Hold the command that RELION recorded against the one planned: a file of another job cannot pass."""
    said = report.optimiser.command if report.optimiser else None
    if said is None or "--continue" in said:
        return
    planned = comparable_command(STAGES[request.kind].fresh_options(request))
    if said[: len(planned)] != planned:
        raise StageFailure("incomplete-output", "the files were written by another command than the one planned")
