"""Stage program: gold-standard refinement by branch and bound; RELION's files for every iteration and at the end."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cryorepro.em.errors import InputError
from cryorepro.model.homogeneous_stages import HomogeneousRefinementParameters, NonUniformRefinementParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, relative_name, run_program

if TYPE_CHECKING:
    from cryorepro.em.homogeneous.files import HomogeneousFiles
    from cryorepro.em.homogeneous.options import HomogeneousOptions, LocalFilterOptions
    from cryorepro.em.homogeneous.refinement import Homogeneous
    from cryorepro.em.particle_images import ParticleImages

# Of a box; for jobs whose published parameters do not give the particle's diameter.
_DIAMETER_SHARE = 0.85
_SHIFT_SHARE = 0.1


def work(request: StageRequest) -> None:
    """Refine ``inputs.particles`` from ``inputs.reference``; no pose of their table is used.

    ``inputs.mask`` takes the place of the mask that is otherwise made from the map of every iteration.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, or the device is not there.
    """
    refine(request, parameters_of(request, HomogeneousRefinementParameters))


def refine(request: StageRequest, parameters: HomogeneousRefinementParameters) -> None:
    """`work` with the parameters of either kind."""
    import torch

    from cryorepro.em.devices.choice import chosen_device, repeat_exactly
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.homogeneous.refinement import finish, run
    from cryorepro.em.particle_images import open_particle_images

    # Parallel work is done by processes of one thread each: the same bits for any number of them.
    torch.set_num_threads(1)
    keep_freed_memory()
    device = chosen_device(request.device, f"stage {request.stage}")
    if request.deterministic:
        repeat_exactly(device)
    loaded = open_particle_images(request.inputs["particles"], correct_ctf=parameters.ctf)
    if len(loaded.images) < 2:
        raise InputError(f"{loaded.particles.source}: one particle cannot be divided into two halves.")
    options = replace(_options(request, parameters, loaded), device=device)
    files = _files(request, parameters, options, loaded)
    images, seed, workers = loaded.images, request.seed, request.threads
    state = _first_state(request, parameters, options, files, loaded)
    started = time.monotonic()
    for done in run(images, state, options, seed, workers, parameters.maximum_iterations):
        state = done
        files.write(state)
        print(_line(files, state, parameters, time.monotonic() - started), flush=True)
        started = time.monotonic()
    finished = finish(images, state, options, seed, workers)
    files.write_final(finished)
    resolution = _angstrom(files, finished.state.refinement.resolution_shell)
    ended = "no further gain" if state.converged else "reached the maximum number of iterations"
    print(
        f"{ended} after iteration {state.refinement.iteration}; all particles joined: noise-substituted FSC 0.143 at"
        f" {resolution:.2f} A  {time.monotonic() - started:.1f} s",
        flush=True,
    )


def _options(
    request: StageRequest, parameters: HomogeneousRefinementParameters, loaded: ParticleImages
) -> HomogeneousOptions:
    import torch

    from cryorepro.em.homogeneous.options import HomogeneousOptions
    from cryorepro.em.solvent_mask import read_solvent_mask
    from cryorepro.em.symmetry import symmetry_matrices

    images, mask = loaded.images, None
    if "mask" in request.inputs:
        mask = read_solvent_mask(request.inputs["mask"], images.box_px, images.pixel_size_angstrom)
    diameter = parameters.particle_diameter_angstrom or _DIAMETER_SHARE * images.box_px * images.pixel_size_angstrom
    reach = parameters.shift_range_px
    return HomogeneousOptions(
        particle_diameter_angstrom=diameter,
        symmetry=torch.from_numpy(symmetry_matrices(parameters.symmetry)),
        healpix_order=parameters.healpix_order,
        shift_range_px=_SHIFT_SHARE * images.box_px if reach is None else reach,
        shift_step_px=parameters.shift_step_px,
        padding=parameters.padding,
        kernel=parameters.interpolation,
        marginalise=parameters.pose == "marginalise",
        per_particle_scale=parameters.per_particle_scale,
        correct_ctf=parameters.ctf,
        join_halves_angstrom=parameters.join_halves_angstrom,
        highest_angstrom=parameters.highest_resolution_angstrom,
        dynamic_mask=parameters.dynamic_mask,
        mask_threshold=parameters.mask_threshold,
        mask_lowpass_angstrom=parameters.mask_lowpass_angstrom,
        mask_near_angstrom=parameters.mask_near_angstrom,
        mask_far_angstrom=parameters.mask_far_angstrom,
        solvent_mask=mask,
        local_filter=_local_filter(parameters),
        without_gain=parameters.iterations_without_gain,
    )


def _local_filter(parameters: HomogeneousRefinementParameters) -> LocalFilterOptions | None:
    from cryorepro.em.homogeneous.options import LocalFilterOptions

    if not isinstance(parameters, NonUniformRefinementParameters):
        return None
    return LocalFilterOptions(
        parameters.regularisation, parameters.filter_order, parameters.window_factor, parameters.filters
    )


def _files(
    request: StageRequest,
    parameters: HomogeneousRefinementParameters,
    options: HomogeneousOptions,
    loaded: ParticleImages,
) -> HomogeneousFiles:
    from cryorepro.em.homogeneous.files import HomogeneousFiles
    from cryorepro.em.refine3d_files import Refine3DFiles

    # what RELION's optimiser file has labels for
    relion: dict[str, Any] = {
        "particle_diameter_angstrom": options.particle_diameter_angstrom,
        "perturbation": 0.0,
        "adaptive_fraction": 1.0,
        "zero_mask": True,
        "flatten_solvent": True,
        "solvent_correct_fsc": True,
        "strict_highres_angstrom": parameters.highest_resolution_angstrom,
        "auto_local_healpix_order": 99,
        "norm": False,
        "scale": parameters.per_particle_scale,
        "ctf_corrected_ref": True,
        "fix_offset_sigma": True,
        "low_resol_join_halves_angstrom": parameters.join_halves_angstrom,
    }
    return HomogeneousFiles(
        Refine3DFiles(
            directory=request.output_dir,
            particles=loaded.particles,
            group_names=loaded.group_names,
            noise_of_group=loaded.noise_of_group,
            job=parameters.model_dump(mode="json") | relion,
            seed=request.seed,
            box_px=loaded.images.box_px,
            pixel_size_angstrom=loaded.images.pixel_size_angstrom,
            mask_name=relative_name(request, "mask"),
        )
    )


def _first_state(
    request: StageRequest,
    parameters: HomogeneousRefinementParameters,
    options: HomogeneousOptions,
    files: HomogeneousFiles,
    loaded: ParticleImages,
) -> Homogeneous:
    """The last complete iteration when resuming, else the start, which is written as iteration 0."""
    from cryorepro.em.formats.relion_job import last_iteration
    from cryorepro.em.half_sets import random_halves
    from cryorepro.em.homogeneous.refinement import start
    from cryorepro.em.imageset import Poses
    from cryorepro.em.particle_images import read_matching_map

    images = loaded.images
    if request.resume:
        last = last_iteration(request.output_dir, rows=len(images), box_px=images.box_px, split_halves=True)
        if last is not None:
            print(f"resuming after iteration {last.number}", flush=True)
            return files.read(last.number)
    reference = read_matching_map(request.inputs["reference"], images.box_px, images.pixel_size_angstrom).numpy()
    halves = random_halves(len(images), request.seed)
    state = start(
        images, Poses.start(len(images)), [reference], halves, options, parameters.ini_high_angstrom, request.threads
    )
    files.begin(state)
    return state


def _line(
    files: HomogeneousFiles, state: Homogeneous, parameters: HomogeneousRefinementParameters, seconds: float
) -> str:
    """One line on an iteration, for people and logs."""
    refinement, schedule = state.refinement, state.refinement.schedule
    step = schedule.fine_step_deg
    return (
        f"iteration {refinement.iteration}/{parameters.maximum_iterations}  "
        f"resolution {_angstrom(files, refinement.resolution_shell):.2f} A  mask {float(state.mask.mean()):.3f}"
        f"  angular step {step:.2f} deg  {state.scored:.0f} orientations compared beyond the grid  {seconds:.1f} s"
    )


def _angstrom(files: HomogeneousFiles, shell: int) -> float:
    return files.relion.box_px * files.relion.pixel_size_angstrom / shell


if __name__ == "__main__":
    run_program(work)
