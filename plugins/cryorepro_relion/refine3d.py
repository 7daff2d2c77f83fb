"""Gold-standard refinement with ``relion_refine_mpi``; the serial program cannot keep two halves apart."""

from __future__ import annotations

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_files import has_leftovers
from cryorepro.em.formats.relion_job import JobReport, inspect_refine3d, last_iteration
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro.model.stages import Refine3DParameters
from cryorepro_relion import inputs, program
from cryorepro_relion.command import (
    continuation,
    environment,
    expert_options,
    flags,
    mpi_prefix,
    number,
    option,
    runtime_options,
)
from cryorepro_relion.leftovers import refuse_leftovers


def plan(request: StageRequest) -> StageCommand:
    """The command line, from the start or after the last complete iteration.

    ``request.threads`` are shared out among the ranks that compute, which are all but the first.

    Raises:
        InputError: an input is missing or wrong, the output directory holds another job, or the ranks or the
        way
            poses are used are not what RELION can do.
    """
    parameters = Refine3DParameters.model_validate(request.parameters)
    data = _checked_input(request, parameters)
    _check_ranks(request, parameters.mpi_ranks)
    _check_poses(request, parameters, data)
    threads = 1 if request.deterministic else max(1, request.threads // (parameters.mpi_ranks - 1))
    last = None
    if request.resume and has_leftovers(request.output_dir):
        last = last_iteration(request.output_dir, rows=data.rows, box_px=data.box_px, split_halves=True)
    refuse_leftovers(request)
    what = continuation(last, request.output_dir) if last else fresh_options(request)
    # Sums go through MPI, not through files of gigabytes on whatever the output's disk is.
    runtime = ["--dont_combine_weights_via_disc", *runtime_options(request, parameters.pool, threads)]
    argv = [*mpi_prefix(parameters.mpi_ranks), program.REFINE_MPI, *what, *runtime]
    return StageCommand(argv=argv, environment=environment(threads), cwd=data.root)


def fresh_options(request: StageRequest) -> list[str]:
    """All options but run-time ones of a job from the start."""
    p = Refine3DParameters.model_validate(request.parameters)
    mask = request.inputs.get("mask")
    return [
        *("--i", str(request.inputs["particles"].absolute())),
        *("--ref", inputs.relion_name(request.inputs["reference"])),
        *flags(auto_refine=True, split_random_halves=True, firstiter_cc=p.firstiter_cc),
        *("--ini_high", number(p.ini_high_angstrom)),
        *flags(ctf=p.ctf, ctf_corrected_ref=p.ctf_corrected_ref),
        *("--particle_diameter", number(p.particle_diameter_angstrom)),
        *flags(flatten_solvent=p.flatten_solvent, zero_mask=p.zero_mask),
        *(("--solvent_mask", inputs.relion_name(mask)) if mask else ()),
        *flags(solvent_correct_fsc=p.solvent_correct_fsc),
        *option("--strict_highres_exp", p.strict_highres_angstrom),
        *("--oversampling", str(p.oversampling)),
        *("--healpix_order", str(p.healpix_order)),
        *("--auto_local_healpix_order", str(p.auto_local_healpix_order)),
        *("--offset_range", number(p.offset_range_px)),
        *("--offset_step", number(p.offset_step_px)),
        *("--sym", p.symmetry),
        *("--low_resol_join_halves", number(p.low_resol_join_halves_angstrom)),
        *flags(norm=p.norm, scale=p.scale),
        *("--auto_iter_max", str(p.maximum_iterations)),
        *expert_options(p),
        *("--random_seed", str(request.seed)),
        *("--o", str(request.output_dir.absolute() / "run")),
    ]


def inspect(request: StageRequest) -> JobReport:
    """Check what the job left.

    Raises:
        IncompleteJob: the final files of a converged refinement are missing or wrong.
        InputError: the particles are no longer there.
    """
    parameters = Refine3DParameters.model_validate(request.parameters)
    data = inputs.read_input(request, ctf=parameters.ctf)
    return inspect_refine3d(request.output_dir, rows=data.rows, box_px=data.box_px)


def _checked_input(request: StageRequest, parameters: Refine3DParameters) -> inputs.ParticleInput:
    inputs.check_roles(request, ("particles", "reference"), ("mask",))
    data = inputs.read_input(request, ctf=parameters.ctf)
    inputs.check_reference(request.inputs["reference"], data, number_of_classes=1)
    if "mask" in request.inputs:
        inputs.check_map(request.inputs["mask"], data.box_px, data.pixel_size_angstrom)
    return data


def _check_ranks(request: StageRequest, ranks: int) -> None:
    # One leader, and as many ranks for one half as for the other.
    if ranks < 3 or ranks % 2 == 0:
        raise InputError(
            f"stage {request.stage}: mpi_ranks is {ranks}, but split halves take an odd number, 3 or more."
        )


def _check_poses(request: StageRequest, parameters: Refine3DParameters, data: inputs.ParticleInput) -> None:
    """RELION looks at given angles if and only if its first searches are local."""
    local = parameters.healpix_order >= parameters.auto_local_healpix_order
    if parameters.use_input_poses and not data.has_poses:
        raise InputError(f"{data.star}: use_input_poses is set, but column rlnAngleRot is missing.")
    if parameters.use_input_poses != local:
        raise InputError(
            f"stage {request.stage}: use_input_poses is {str(parameters.use_input_poses).lower()}, but with "
            f"healpix_order {parameters.healpix_order} and auto_local_healpix_order "
            f"{parameters.auto_local_healpix_order} RELION starts with "
            f"{'local searches around' if local else 'global searches that ignore'} the given poses."
        )
