"""Stage program: 2D classification of particles, without references or from given ones; RELION's files throughout."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from cryorepro.em.errors import InputError
from cryorepro.model.class2d_stages import Class2DParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of
from cryorepro_engines.programs._processes import placed, run_shared_program

if TYPE_CHECKING:
    from cryorepro.em.class2d import Class2DJob
    from cryorepro.em.class2d_files import Class2DFiles
    from cryorepro.em.class2d_state import Class2DSettings, Class2DState
    from cryorepro.em.formats.relion_files import Iteration
    from cryorepro.em.particle_images import ParticleImages


def work(request: StageRequest) -> None:
    """Classify ``inputs.particles``; ``inputs.references`` (a stack, or a STAR file that lists them) start the classes.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, or the device is not there.
    """
    import torch

    from cryorepro.em.class2d import Class2DJob, classify_2d
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.particle_images import open_particle_images

    # Parallel work is done by processes of one thread each: the same bits for any number of them.
    torch.set_num_threads(1)
    keep_freed_memory()
    with placed(request) as (device, ranks, workers):
        parameters = parameters_of(request, Class2DParameters)
        loaded = open_particle_images(request.inputs["particles"], correct_ctf=parameters.ctf)
        job = Class2DJob(loaded.images, _settings(request, parameters), request.seed)
        job = replace(job, device=device, ranks=ranks, workers=workers, exact=request.deterministic)
        files = _files(request, job, loaded)
        state = _first_state(request, job, files, loaded)
        started = time.monotonic()
        for done in classify_2d(job, state):
            if ranks.first:
                files.write(done)
                print(_line(files, done, time.monotonic() - started), flush=True)
            started = time.monotonic()


def _settings(request: StageRequest, parameters: Class2DParameters) -> Class2DSettings:
    from cryorepro.em.class2d_state import Class2DSettings

    if parameters.particle_diameter_angstrom is None:
        raise InputError(f"stage {request.stage}: parameters.particle_diameter_angstrom is not given.")
    names = {field.name for field in fields(Class2DSettings)}
    given = {name: value for name, value in parameters.model_dump().items() if name in names and value is not None}
    if "references" in request.inputs:
        given.setdefault("early_iterations", 0)  # classes that differ already need no time to part
    return Class2DSettings(**given)


def _files(request: StageRequest, job: Class2DJob, loaded: ParticleImages) -> Class2DFiles:
    from cryorepro.em.class2d_files import Class2DFiles

    return Class2DFiles(
        directory=request.output_dir,
        particles=loaded.particles,
        group_names=loaded.group_names,
        noise_of_group=loaded.noise_of_group,
        settings=job.settings,
        seed=request.seed,
        box_px=job.images.box_px,
        pixel_size_angstrom=job.images.pixel_size_angstrom,
    )


def _first_state(request: StageRequest, job: Class2DJob, files: Class2DFiles, loaded: ParticleImages) -> Class2DState:
    """The last complete iteration when resuming, else the start, which is written as iteration 0."""
    from cryorepro.em.class2d_references import read_image_references
    from cryorepro.em.class2d_start import start_2d
    from cryorepro.em.formats.relion_job import last_iteration

    images, classes = job.images, job.settings.number_of_classes
    if classes > len(images):
        raise InputError(f"{request.inputs['particles']}: {len(images)} particles cannot start {classes} classes.")
    if request.resume:
        last = last_iteration(
            request.output_dir, rows=len(images), box_px=images.box_px, number_of_classes=classes, stacked=True
        )
        # what one process saw counts for all: the first may write before another has looked
        last = job.ranks.gather(last)[0]
        if last is not None:
            return _resumed(last, job, files, loaded)
    references = None
    if "references" in request.inputs:
        references = read_image_references(request.inputs["references"], classes, images.box_px)
    if job.ranks.first:
        files.clear()
    state = start_2d(job, loaded.start_poses(), references)
    if job.ranks.first:
        files.write(state)
    return state


def _resumed(last: Iteration, job: Class2DJob, files: Class2DFiles, loaded: ParticleImages) -> Class2DState:
    """The state after ``last``: exactly as it was where our sidecar lies beside it, else from RELION's files."""
    from cryorepro.em.class2d_restart import class2d_state
    from cryorepro.em.relion_restart import JobShape

    if last.path("state.npz").exists():
        print(f"resuming after iteration {last.number}", flush=True)
        return files.read(last.number)
    print(f"resuming after iteration {last.number} of RELION's files: not the same bits as without a break", flush=True)
    images, groups = job.images, (loaded.group_names, loaded.noise_of_group)
    shape = JobShape(loaded.particles, *groups, images.box_px, images.pixel_size_angstrom)
    return class2d_state(last, shape, job.settings)


def _line(files: Class2DFiles, state: Class2DState, seconds: float) -> str:
    """One line on an iteration, for people and logs."""
    in_use = int((state.poses.class_index.bincount(minlength=1) > 0).sum())
    return (
        f"iteration {state.iteration}/{files.settings.iterations}  "
        f"resolution {files.resolution_angstrom(state.resolution_shell):.2f} A  "
        f"image size {2 * state.image_radius} px  classes in use {in_use}  "
        f"largest {float(state.class_fractions.max()):.3f}  Pmax {state.average_pmax:.3f}  {seconds:.1f} s"
    )


if __name__ == "__main__":
    run_shared_program(work)
