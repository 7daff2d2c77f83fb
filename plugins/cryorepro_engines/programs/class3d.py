"""Stage program: 3D classification against one or more references, RELION's files for every iteration."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageRequest
from cryorepro.model.stages import Class3DParameters
from cryorepro_engines.programs._main import parameters_of, relative_name
from cryorepro_engines.programs._processes import placed, run_shared_program

if TYPE_CHECKING:
    from cryorepro.em.class3d import Class3DJob
    from cryorepro.em.class3d_files import Class3DFiles
    from cryorepro.em.class3d_state import Class3DState
    from cryorepro.em.formats.relion_files import Iteration
    from cryorepro.em.particle_images import ParticleImages


def work(request: StageRequest) -> None:
    """Classify ``inputs.particles`` against ``inputs.reference``; ``inputs.mask`` replaces the solvent sphere.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, or the device is not there.
    """
    import torch

    from cryorepro.em.class3d import classify
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.particle_images import open_particle_images

    # Parallel work is done by processes of one thread each: the same bits for any number of them.
    torch.set_num_threads(1)
    keep_freed_memory()
    with placed(request) as (device, ranks, workers):
        parameters = parameters_of(request, Class3DParameters)
        loaded = open_particle_images(request.inputs["particles"], correct_ctf=parameters.ctf)
        job = _job(request, parameters, loaded)
        job = replace(job, device=device, ranks=ranks, workers=workers, exact=request.deterministic)
        files = _files(request, job, loaded)
        state = _first_state(request, job, files, loaded)
        started = time.monotonic()
        for done in classify(job, state):
            if ranks.first:
                files.write(done)
                print(_line(files, done, time.monotonic() - started), flush=True)
            started = time.monotonic()


def _job(request: StageRequest, parameters: Class3DParameters, loaded: ParticleImages) -> Class3DJob:
    from cryorepro.em.class3d import Class3DJob
    from cryorepro.em.class3d_state import Class3DSettings
    from cryorepro.em.solvent_mask import read_solvent_mask

    names = {field.name for field in fields(Class3DSettings)}
    settings = Class3DSettings(**{k: v for k, v in parameters.model_dump().items() if k in names})
    images, mask = loaded.images, None
    if "mask" in request.inputs:
        mask = read_solvent_mask(request.inputs["mask"], images.box_px, images.pixel_size_angstrom)
    return Class3DJob(images, settings, request.seed, solvent_mask=mask)


def _files(request: StageRequest, job: Class3DJob, loaded: ParticleImages) -> Class3DFiles:
    from cryorepro.em.class3d_files import Class3DFiles

    return Class3DFiles(
        directory=request.output_dir,
        particles=loaded.particles,
        group_names=loaded.group_names,
        noise_of_group=loaded.noise_of_group,
        settings=job.settings,
        seed=request.seed,
        box_px=job.images.box_px,
        pixel_size_angstrom=job.images.pixel_size_angstrom,
        mask_name=relative_name(request, "mask"),
    )


def _first_state(request: StageRequest, job: Class3DJob, files: Class3DFiles, loaded: ParticleImages) -> Class3DState:
    """The last complete iteration when resuming, else the start, which is written as iteration 0."""
    from cryorepro.em.class3d import start_state
    from cryorepro.em.formats.relion_job import last_iteration
    from cryorepro.em.particle_images import read_references

    images, classes = job.images, job.settings.number_of_classes
    if request.resume:
        last = last_iteration(request.output_dir, rows=len(images), box_px=images.box_px, number_of_classes=classes)
        # what one process saw counts for all: the first may write before another has looked
        last = job.ranks.gather(last)[0]
        if last is not None:
            return _resumed(last, job, files, loaded)
    references = read_references(request.inputs["reference"], images.box_px, images.pixel_size_angstrom)
    if references.shape[0] not in (1, classes):
        raise InputError(f"{request.inputs['reference']}: {references.shape[0]} references for {classes} classes.")
    if job.ranks.first:
        files.clear()
    state = start_state(job, references, loaded.start_poses())
    if job.ranks.first:
        files.write(state)
    return state


def _resumed(last: Iteration, job: Class3DJob, files: Class3DFiles, loaded: ParticleImages) -> Class3DState:
    """The state after ``last``: exactly as it was where our sidecar lies beside it, else from RELION's files."""
    import torch

    from cryorepro.em.relion_restart import JobShape
    from cryorepro.em.relion_restart_states import class3d_state
    from cryorepro.em.symmetry import symmetry_matrices

    if last.path("state.npz").exists():
        print(f"resuming after iteration {last.number}", flush=True)
        return files.read(last.number)
    print(f"resuming after iteration {last.number} of RELION's files: not the same bits as without a break", flush=True)
    images = job.images
    shape = JobShape(
        loaded.particles, loaded.group_names, loaded.noise_of_group, images.box_px, images.pixel_size_angstrom
    )
    symmetry = torch.from_numpy(symmetry_matrices(job.settings.symmetry).copy())
    return class3d_state(last, shape, job.settings, symmetry)


def _line(files: Class3DFiles, state: Class3DState, seconds: float) -> str:
    """One line on an iteration, for people and logs."""
    shares = " ".join(f"{share:.3f}" for share in state.class_fractions.tolist())
    return (
        f"iteration {state.iteration}/{files.settings.iterations}  "
        f"resolution {files.resolution_angstrom(state.resolution_shell):.2f} A  "
        f"image size {2 * state.image_radius} px  classes {shares}  "
        f"Pmax {state.average_pmax:.3f}  {seconds:.1f} s"
    )


if __name__ == "__main__":
    run_shared_program(work)
