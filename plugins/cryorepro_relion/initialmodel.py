"""An initial model with ``relion_refine --sgd --denovo_3dref``, as RELION 3.1's own interface starts it."""

from __future__ import annotations

from cryorepro.em.errors import InputError
from cryorepro.em.formats.initial_model_products import inspect_initial_model
from cryorepro.em.formats.relion_files import has_leftovers
from cryorepro.em.formats.relion_job import JobReport, last_iteration
from cryorepro.model.initial_model_stage import InitialModelParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import continuation, environment, flags, number, option, runtime_options, unusual
from cryorepro_relion.leftovers import refuse_leftovers


def plan(request: StageRequest) -> StageCommand:
    """The command line, from the start or after the last complete iteration.

    Raises:
        InputError: an input is missing or wrong, RELION cannot do what is asked, or the output directory holds
            another job.
    """
    parameters = InitialModelParameters.model_validate(request.parameters)
    inputs.check_roles(request, ("particles",))
    data = inputs.read_input(request, ctf=parameters.ctf)
    threads = 1 if request.deterministic else request.threads
    last = None
    if request.resume and has_leftovers(request.output_dir):
        last = last_iteration(
            request.output_dir, rows=data.rows, box_px=data.box_px, number_of_classes=parameters.number_of_classes or 1
        )
    refuse_leftovers(request)
    what = continuation(last, request.output_dir) if last else fresh_options(request)
    argv = [program.REFINE, *what, *runtime_options(request, parameters.pool, threads)]
    return StageCommand(argv=argv, environment=environment(threads), cwd=data.root)


def fresh_options(request: StageRequest) -> list[str]:
    """All options but run-time ones of a job from the start.

    Raises:
        InputError: the symmetry is to be imposed after the run, or the particle's diameter is not given.
    """
    p = InitialModelParameters.model_validate(request.parameters)
    symmetry = p.symmetry or "C1"
    if p.run_in_c1 and symmetry != "C1":
        raise InputError(
            f"stage {request.stage}: parameters.run_in_c1: relion_refine imposes {symmetry} while it runs; "
            f"give run_in_c1: false, or no symmetry."
        )
    if p.final_step_size not in (None, p.step_size):
        raise InputError(f"stage {request.stage}: parameters.final_step_size: RELION has one step size; leave it out.")
    if p.noise_factor != 1.0:
        raise InputError(
            f"stage {request.stage}: parameters.noise_factor: RELION lowers its own by a half-life in particles, which "
            f"is another rule; give 1."
        )
    if p.particle_diameter_angstrom is None:
        raise InputError(f"stage {request.stage}: parameters.particle_diameter_angstrom is not given.")
    return [
        *("--i", str(request.inputs["particles"].absolute())),
        *flags(sgd=True, denovo_3dref=True),
        *("--sgd_ini_iter", str(p.initial_iterations)),
        *("--sgd_inbetween_iter", str(p.inbetween_iterations)),
        *("--sgd_fin_iter", str(p.final_iterations)),
        *("--sgd_write_iter", str(p.write_every)),
        *option("--sgd_ini_resol", p.initial_resolution_angstrom),
        *option("--sgd_fin_resol", p.final_resolution_angstrom),
        *("--sgd_ini_subset", str(p.initial_subset)),
        *("--sgd_fin_subset", str(p.final_subset)),
        *option("--sgd_stepsize", p.step_size),
        *option("--mu", p.momentum),
        *option("--tau2_fudge", p.tau2_fudge),
        *flags(ctf=p.ctf),
        *("--K", str(p.number_of_classes or 1)),
        *("--sym", symmetry),
        *flags(flatten_solvent=True, zero_mask=p.zero_mask),
        *option("--particle_diameter", p.particle_diameter_angstrom),
        *("--oversampling", str(p.oversampling)),
        *("--healpix_order", str(p.healpix_order)),
        *("--offset_range", number(p.offset_range_px)),
        *("--offset_step", number(p.offset_step_px)),
        *unusual("--offset", p.offset_sigma_angstrom),
        *unusual("--perturb", p.perturbation),
        *unusual("--adaptive_fraction", p.adaptive_fraction),
        *unusual("--pad", p.padding),
        *("--random_seed", str(request.seed)),
        *("--o", str(request.output_dir.absolute() / "run")),
    ]


def inspect(request: StageRequest) -> JobReport:
    """Check what the job left; the map of its largest class is what a refinement starts from.

    Raises:
        IncompleteJob: the last iteration is missing or wrong.
        InputError: the particles are no longer there.
    """
    parameters = InitialModelParameters.model_validate(request.parameters)
    data = inputs.read_input(request, ctf=parameters.ctf)
    return inspect_initial_model(
        request.output_dir,
        number_of_iterations=parameters.iterations,
        number_of_classes=parameters.number_of_classes or 1,
        rows=data.rows,
        box_px=data.box_px,
    )
