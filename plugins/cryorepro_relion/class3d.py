"""3D classification with ``relion_refine``.

With the canonical parameters of a published job the options come out to the letter, in the published order,
but for run-time options (``--j``, ``--pool``, ``--gpu``) and the seed. The published 10028 job says
``--random_seed 0``, for which there is no parameter: in RELION 0 also skips the shuffling of particles and
warns in every iteration, and a stage's seed always derives from the run's, so that repeats differ in it and
nothing else.
"""

from __future__ import annotations

from cryorepro.em.formats.relion_files import has_leftovers
from cryorepro.em.formats.relion_job import JobReport, inspect_class3d, last_iteration
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro.model.stages import Class3DParameters
from cryorepro_relion import inputs, program
from cryorepro_relion.command import (
    continuation,
    environment,
    expert_options,
    flags,
    number,
    option,
    runtime_options,
)
from cryorepro_relion.leftovers import refuse_leftovers


def plan(request: StageRequest) -> StageCommand:
    """The command line, from the start or after the last complete iteration.

    Raises:
        InputError: an input is missing or wrong, or the output directory holds another job.
    """
    parameters = Class3DParameters.model_validate(request.parameters)
    data = _checked_input(request, parameters)
    threads = 1 if request.deterministic else request.threads
    last = None
    if request.resume and has_leftovers(request.output_dir):
        last = last_iteration(
            request.output_dir,
            rows=data.rows,
            box_px=data.box_px,
            number_of_classes=parameters.number_of_classes,
        )
    refuse_leftovers(request)
    what = continuation(last, request.output_dir) if last else fresh_options(request)
    argv = [program.REFINE, *what, *runtime_options(request, parameters.pool, threads)]
    return StageCommand(argv=argv, environment=environment(threads), cwd=data.root)


def fresh_options(request: StageRequest) -> list[str]:
    """All options but run-time ones of a job from the start, in the order published jobs give them."""
    p = Class3DParameters.model_validate(request.parameters)
    mask = request.inputs.get("mask")
    return [
        *("--i", str(request.inputs["particles"].absolute())),
        *("--ref", inputs.relion_name(request.inputs["reference"])),
        *flags(firstiter_cc=p.firstiter_cc),
        *option("--ini_high", p.ini_high_angstrom),
        *flags(ctf=p.ctf, ctf_corrected_ref=p.ctf_corrected_ref),
        *("--iter", str(p.iterations)),
        *("--tau2_fudge", number(p.tau2_fudge)),
        *("--particle_diameter", number(p.particle_diameter_angstrom)),
        *("--K", str(p.number_of_classes)),
        *flags(flatten_solvent=p.flatten_solvent, zero_mask=p.zero_mask),
        *(("--solvent_mask", inputs.relion_name(mask)) if mask else ()),
        *option("--strict_highres_exp", p.strict_highres_angstrom),
        *("--oversampling", str(p.oversampling)),
        *("--healpix_order", str(p.healpix_order)),
        *("--offset_range", number(p.offset_range_px)),
        *("--offset_step", number(p.offset_step_px)),
        *("--sym", p.symmetry),
        *flags(norm=p.norm, scale=p.scale),
        *expert_options(p),
        *("--random_seed", str(request.seed)),
        *("--o", str(request.output_dir.absolute() / "run")),
    ]


def inspect(request: StageRequest) -> JobReport:
    """Check what the job left.

    Raises:
        IncompleteJob: the last requested iteration is missing or wrong.
        InputError: the particles are no longer there.
    """
    parameters = Class3DParameters.model_validate(request.parameters)
    data = inputs.read_input(request, ctf=parameters.ctf)
    return inspect_class3d(
        request.output_dir,
        number_of_iterations=parameters.iterations,
        number_of_classes=parameters.number_of_classes,
        rows=data.rows,
        box_px=data.box_px,
    )


def _checked_input(request: StageRequest, parameters: Class3DParameters) -> inputs.ParticleInput:
    inputs.check_roles(request, ("particles", "reference"), ("mask",))
    data = inputs.read_input(request, ctf=parameters.ctf)
    inputs.check_reference(request.inputs["reference"], data, parameters.number_of_classes)
    if "mask" in request.inputs:
        inputs.check_map(request.inputs["mask"], data.box_px, data.pixel_size_angstrom)
    return data
