"""2D classification with ``relion_refine``, options in the order published jobs give them."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.references import reference_names
from cryorepro.em.formats.relion_files import has_leftovers
from cryorepro.em.formats.relion_job import JobReport, inspect_class3d, last_iteration
from cryorepro.model.class2d_stages import Class2DParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import continuation, environment, flags, option, runtime_options, unusual
from cryorepro_relion.leftovers import refuse_leftovers


def plan(request: StageRequest) -> StageCommand:
    """The command line, from the start or after the last complete iteration.

    Raises:
        InputError: an input is missing or wrong, or the output directory holds another job.
    """
    parameters = Class2DParameters.model_validate(request.parameters)
    inputs.check_roles(request, ("particles",), ("references",))
    data = inputs.read_input(request, ctf=parameters.ctf)
    if "references" in request.inputs:
        _check_references(request.inputs["references"], parameters.classes, data)
    threads = 1 if request.deterministic else request.threads
    last = None
    if request.resume and has_leftovers(request.output_dir):
        last = last_iteration(
            request.output_dir,
            rows=data.rows,
            box_px=data.box_px,
            number_of_classes=parameters.classes,
            stacked=True,
        )
    refuse_leftovers(request)
    what = continuation(last, request.output_dir) if last else fresh_options(request)
    argv = [program.REFINE, *what, *runtime_options(request, parameters.pool, threads)]
    return StageCommand(argv=argv, environment=environment(threads), cwd=data.root)


def fresh_options(request: StageRequest) -> list[str]:
    """All options but run-time ones of a job from the start.

    Raises:
        InputError: the particle's diameter is not given, or a parameter is asked for that RELION does not have.
    """
    p = Class2DParameters.model_validate(request.parameters)
    if p.particle_diameter_angstrom is None:
        raise InputError(f"stage {request.stage}: parameters.particle_diameter_angstrom is not given.")
    if p.early_iterations:
        raise InputError(f"stage {request.stage}: RELION has no parameters.early_iterations.")
    references = request.inputs.get("references")
    return [
        *("--i", str(request.inputs["particles"].absolute())),
        *(("--ref", str(references.absolute())) if references else ()),
        *option("--ini_high", p.ini_high_angstrom),
        *flags(ctf=p.ctf, ctf_intact_first_peak=p.ctf_intact_first_peak, ctf_corrected_ref=bool(references)),
        *option("--iter", p.iterations),
        *option("--tau2_fudge", p.tau2_fudge),
        *option("--particle_diameter", p.particle_diameter_angstrom),
        *flags(fast_subsets=p.fast_subsets),
        *option("--K", p.number_of_classes),
        *flags(flatten_solvent=p.flatten_solvent, zero_mask=p.zero_mask),
        *option("--strict_highres_exp", p.strict_highres_angstrom),
        *option("--oversampling", p.oversampling),
        *option("--psi_step", p.psi_step_degrees),
        *option("--offset_range", p.offset_range_px),
        *option("--offset_step", p.offset_step_px),
        *flags(norm=p.norm, scale=p.scale),
        *unusual("--offset", p.offset_sigma_angstrom),
        *flags(fix_sigma_offset=p.fix_offset_sigma),
        *unusual("--perturb", p.perturbation),
        *unusual("--adaptive_fraction", p.adaptive_fraction),
        *option("--pad", p.padding),
        *("--random_seed", str(request.seed)),
        *("--o", str(request.output_dir.absolute() / "run")),
    ]


def inspect(request: StageRequest) -> JobReport:
    """Check what the job left.

    Raises:
        IncompleteJob: the last requested iteration is missing or wrong.
        InputError: the particles are no longer there.
    """
    parameters = Class2DParameters.model_validate(request.parameters)
    data = inputs.read_input(request, ctf=parameters.ctf)
    return inspect_class3d(
        request.output_dir,
        number_of_iterations=parameters.last_iteration,
        number_of_classes=parameters.classes,
        rows=data.rows,
        box_px=data.box_px,
        stacked=True,
    )


def _check_references(path: Path, classes: int, data: inputs.ParticleInput) -> None:
    """RELION 3.1 takes a stack for one image that all classes start from; only a STAR file tells classes apart."""
    if path.suffix != ".star":
        raise InputError(f"{path}: RELION needs a STAR file that lists one reference per class (rlnReferenceImage).")
    names = reference_names(path)
    if len(names) != classes:
        raise InputError(f"{path}: {len(names)} references for {classes} classes.")
    for number, name in names:
        # RELION runs in the particles' directory and knows no other.
        shape = read_mrc_header(data.root / name).shape
        if shape[1:] != (data.box_px, data.box_px) or number >= shape[0]:
            raise InputError(f"{data.root / name}: no image {number + 1} of {data.box_px} x {data.box_px} pixels.")
