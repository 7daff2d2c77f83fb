"""Stage program: gold-standard refinement of two halves, RELION's files for every iteration and at the end."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageRequest
from cryorepro.model.stages import Refine3DParameters
from cryorepro_engines.programs._main import parameters_of, relative_name
from cryorepro_engines.programs._processes import placed, run_shared_program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cryorepro.em.formats.relion_files import Iteration
    from cryorepro.em.imageset import Poses
    from cryorepro.em.particle_images import ParticleImages
    from cryorepro.em.refine3d import Final, Refinement
    from cryorepro.em.refine3d_files import Refine3DFiles
    from cryorepro.em.refine_state import RefineOptions


def work(request: StageRequest) -> None:
    """Refine ``inputs.particles`` from ``inputs.reference``, or from the poses in their table.

    ``inputs.mask`` takes the place of the particle's sphere, and is what ``solvent_correct_fsc`` works within.

    With ``use_input_poses`` each half starts from the map its own poses give, unless a reference is given,
    and the halves are those of rlnRandomSubset where the table has them.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, a parameter asks for what this
            program does not do, or the device is not there.
    """
    import torch

    from cryorepro.em.particle_images import open_particle_images
    from cryorepro.em.refine3d import finish, run

    # Parallel work is done by processes of one thread each: the same bits for any number of them.
    torch.set_num_threads(1)
    parameters = parameters_of(request, Refine3DParameters)
    _check(request, parameters)
    with placed(request) as (device, ranks, workers):
        loaded = open_particle_images(request.inputs["particles"], correct_ctf=parameters.ctf)
        options = _options(request, parameters, loaded)
        options = replace(options, device=device, ranks=ranks, exact=request.deterministic)
        files = _files(request, parameters, loaded)
        state = _first_state(request, parameters, options, files, loaded, workers)
        images, seed = loaded.images, request.seed
        started = time.monotonic()
        for done in run(images, state, options, seed, workers, parameters.maximum_iterations):
            state = done
            if ranks.first:
                files.write(state)
                print(_line(files, state, parameters, time.monotonic() - started), flush=True)
            started = time.monotonic()
        final = finish(images, state, options, seed, workers)
        if ranks.first:
            _end(files, state, final, time.monotonic() - started)


def _end(files: Refine3DFiles, state: Refinement, final: Final, seconds: float) -> None:
    files.write_final(final)
    resolution = files.box_px * files.pixel_size_angstrom / final.refinement.resolution_shell
    ended = "converged" if state.schedule.converged else "reached the maximum number of iterations"
    print(
        f"{ended} after iteration {state.iteration}; all particles joined: half-map FSC 0.143 at"
        f" {resolution:.2f} A  {seconds:.1f} s",
        flush=True,
    )


def _check(request: StageRequest, parameters: Refine3DParameters) -> None:
    where = f"stage {request.stage}"
    if "reference" not in request.inputs and not parameters.use_input_poses:
        raise InputError(f"{where}: inputs.reference is not given.")
    if parameters.solvent_correct_fsc and "mask" not in request.inputs:
        raise InputError(f"{where}: parameters.solvent_correct_fsc needs inputs.mask, which is not given.")


def _options(request: StageRequest, parameters: Refine3DParameters, loaded: ParticleImages) -> RefineOptions:
    import torch

    from cryorepro.em.refine_state import RefineOptions
    from cryorepro.em.solvent_mask import read_solvent_mask
    from cryorepro.em.symmetry import symmetry_matrices

    images, mask = loaded.images, None
    if "mask" in request.inputs:
        mask = read_solvent_mask(request.inputs["mask"], images.box_px, images.pixel_size_angstrom)
    return RefineOptions(
        particle_diameter_angstrom=parameters.particle_diameter_angstrom,
        symmetry=torch.from_numpy(symmetry_matrices(parameters.symmetry)),
        perturbation=parameters.perturbation,
        adaptive_fraction=parameters.adaptive_fraction,
        padding=parameters.padding,
        firstiter_cc=parameters.firstiter_cc,
        correct_ctf=parameters.ctf,
        ctf_corrected_reference=parameters.ctf_corrected_ref,
        flatten_solvent=parameters.flatten_solvent,
        zero_mask=parameters.zero_mask,
        norm=parameters.norm,
        scale=parameters.scale,
        fix_offset_sigma=parameters.fix_offset_sigma,
        join_halves_angstrom=parameters.low_resol_join_halves_angstrom,
        poses_are_given=parameters.use_input_poses,
        solvent_mask=mask,
        solvent_correct_fsc=parameters.solvent_correct_fsc,
        strict_highres_angstrom=parameters.strict_highres_angstrom,
    )


def _files(request: StageRequest, parameters: Refine3DParameters, loaded: ParticleImages) -> Refine3DFiles:
    from cryorepro.em.refine3d_files import Refine3DFiles

    return Refine3DFiles(
        directory=request.output_dir,
        particles=loaded.particles,
        group_names=loaded.group_names,
        noise_of_group=loaded.noise_of_group,
        job=parameters.model_dump(mode="json"),
        seed=request.seed,
        box_px=loaded.images.box_px,
        pixel_size_angstrom=loaded.images.pixel_size_angstrom,
        mask_name=relative_name(request, "mask"),
    )


def _first_state(
    request: StageRequest,
    parameters: Refine3DParameters,
    options: RefineOptions,
    files: Refine3DFiles,
    loaded: ParticleImages,
    workers: int,
) -> Refinement:
    """The last complete iteration when resuming, else the start, which is written as iteration 0."""
    from cryorepro.em.formats.relion_job import last_iteration
    from cryorepro.em.refine3d import start
    from cryorepro.em.refine_schedule import Schedule

    images = loaded.images
    if request.resume:
        last = last_iteration(request.output_dir, rows=len(images), box_px=images.box_px, split_halves=True)
        # what one process saw counts for all: the first may write before another has looked
        last = options.ranks.gather(last)[0]
        if last is not None:
            return _resumed(last, files, parameters, options, loaded)
    schedule = Schedule(
        healpix_order=parameters.healpix_order,
        oversampling=parameters.oversampling,
        offset_range_px=parameters.offset_range_px,
        offset_step_px=parameters.offset_step_px,
        radius=images.box_px // 2,
        finest_order=max(parameters.healpix_order, 7),
        local_order=parameters.auto_local_healpix_order,
    )
    half_of = _halves(request, parameters, loaded)
    poses = _poses(parameters, loaded)
    state = start(
        images,
        poses,
        _references(request, parameters, options, loaded, half_of, poses),
        half_of,
        schedule,
        options,
        parameters.ini_high_angstrom,
        parameters.offset_sigma_angstrom / images.pixel_size_angstrom,
        workers,
    )
    if options.ranks.first:
        files.begin(state)
    return state


def _resumed(
    last: Iteration,
    files: Refine3DFiles,
    parameters: Refine3DParameters,
    options: RefineOptions,
    loaded: ParticleImages,
) -> Refinement:
    """The state after ``last``: exactly as it was where our sidecar lies beside it, else from RELION's files."""
    from cryorepro.em.relion_restart import JobShape
    from cryorepro.em.relion_restart_states import refinement_state

    if last.path("state.npz").exists():
        print(f"resuming after iteration {last.number}", flush=True)
        return files.read(last.number)
    print(f"resuming after iteration {last.number} of RELION's files: not the same bits as without a break", flush=True)
    images = loaded.images
    shape = JobShape(
        loaded.particles, loaded.group_names, loaded.noise_of_group, images.box_px, images.pixel_size_angstrom
    )
    return refinement_state(last, shape, parameters.auto_local_healpix_order, options.symmetry)


def _poses(parameters: Refine3DParameters, loaded: ParticleImages) -> Poses:
    from cryorepro.em.imageset import Poses

    if not parameters.use_input_poses:
        return Poses.start(len(loaded.images))
    loaded.particles.column("rlnAngleRot")
    return loaded.start_poses()


def _halves(request: StageRequest, parameters: Refine3DParameters, loaded: ParticleImages) -> NDArray[np.int64]:
    """Half of every particle: drawn from the seed, or the table's own where its poses are used."""
    import numpy as np

    from cryorepro.em.half_sets import random_halves

    if len(loaded.images) < 2:
        raise InputError(f"{loaded.particles.source}: one particle cannot be divided into two halves.")
    if not (parameters.use_input_poses and "rlnRandomSubset" in loaded.particles.columns):
        return random_halves(len(loaded.images), request.seed)
    halves = loaded.particles.column("rlnRandomSubset")
    if set(np.unique(halves).tolist()) != {1, 2}:
        raise InputError(f"{loaded.particles.source}: rlnRandomSubset must hold 1 and 2, and nothing else.")
    return np.asarray(halves, dtype=np.int64)


def _references(
    request: StageRequest,
    parameters: Refine3DParameters,
    options: RefineOptions,
    loaded: ParticleImages,
    half_of: NDArray[np.int64],
    poses: Poses,
) -> list[NDArray[np.float32]]:
    """The map given for both halves, or one of each half from its own poses."""
    from cryorepro.em.half_sets import unregularised
    from cryorepro.em.particle_images import read_matching_map
    from cryorepro.em.pose_reconstruction import sums_from_poses
    from cryorepro.em.refine3d import indices

    images = loaded.images
    box, pixel_size = images.box_px, images.pixel_size_angstrom
    if "reference" in request.inputs:
        return [read_matching_map(request.inputs["reference"], box, pixel_size).numpy()]
    radius = min(box // 2, round(box * pixel_size / parameters.ini_high_angstrom) + 2)
    grids = [
        sums_from_poses(
            images, poses, indices(half_of, half), radius, options.symmetry, options.padding, parameters.ctf
        )
        for half in (1, 2)
    ]
    maps = unregularised(grids, box, radius, options.padding, request.threads)
    return [volume.float().numpy() for volume in maps]


def _line(files: Refine3DFiles, state: Refinement, parameters: Refine3DParameters, seconds: float) -> str:
    """One line on an iteration, for people and logs."""
    schedule = state.schedule
    local = ", local" if schedule.is_local else ""
    return (
        f"iteration {state.iteration}/{parameters.maximum_iterations}  "
        f"resolution {files.box_px * files.pixel_size_angstrom / state.resolution_shell:.2f} A  "
        f"image size {2 * schedule.radius} px  angular step {schedule.fine_step_deg:.2f} deg{local}  "
        f"accuracy {state.accuracy.rotation_deg:.2f} deg  Pmax {state.halves[0].mean_pmax:.3f}  {seconds:.1f} s"
    )


if __name__ == "__main__":
    run_shared_program(work)
