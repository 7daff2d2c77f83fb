"""Stage program: a first map from particles alone, RELION's files every few iterations and one map at the end."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from cryorepro.model.initial_model_stage import InitialModelParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program

if TYPE_CHECKING:
    from torch import Tensor

    from cryorepro.em.initial_model import InitialModelJob
    from cryorepro.em.initial_model_files import InitialModelFiles
    from cryorepro.em.initial_model_state import InitialModelState
    from cryorepro.em.particle_images import ParticleImages

# Of a box; for jobs whose published parameters do not give the particle's diameter.
_DIAMETER_SHARE = 0.85


def work(request: StageRequest) -> None:
    """Find a map of ``inputs.particles``; no pose, offset or class of their table is used.

    Raises:
        InputError: an input is malformed, or the device is not there.
    """
    import torch

    from cryorepro.em.devices.choice import chosen_device, repeat_exactly
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.initial_model import climb
    from cryorepro.em.particle_images import open_particle_images

    # Parallel work is done by processes of one thread each: the same bits for any number of them.
    torch.set_num_threads(1)
    keep_freed_memory()
    device = chosen_device(request.device, f"stage {request.stage}")
    if request.deterministic:
        repeat_exactly(device)
    parameters = parameters_of(request, InitialModelParameters)
    loaded = _one_spectrum_per_optics(open_particle_images(request.inputs["particles"], correct_ctf=parameters.ctf))
    job = replace(_job(request, parameters, loaded), device=device)
    files = _files(request, parameters, job, loaded)
    state = _first_state(request, job, files)
    started = time.monotonic()
    for done in climb(job, state):
        state = done
        if files.due(state.iteration):
            files.write(state)
            print(_line(files, state, time.monotonic() - started), flush=True)
            started = time.monotonic()
    files.write_final(_final_map(job, state))


def _one_spectrum_per_optics(loaded: ParticleImages) -> ParticleImages:
    """Mini-batches hold too few particles of each micrograph for a noise spectrum of its own."""
    import numpy as np
    import torch

    optics = np.asarray(loaded.particles.optics_index, dtype=np.int64)
    group = loaded.particles.columns["rlnGroupNumber"] - 1
    first_member = np.unique(group, return_index=True)[1]
    images = replace(loaded.images, noise_group=torch.from_numpy(optics.copy()))
    return replace(loaded, images=images, noise_of_group=optics[first_member].tolist())


def _job(request: StageRequest, parameters: InitialModelParameters, loaded: ParticleImages) -> InitialModelJob:
    from cryorepro.em.initial_model import InitialModelJob
    from cryorepro.em.initial_model_state import InitialModelSettings

    box_angstrom = loaded.images.box_px * loaded.images.pixel_size_angstrom
    names = {field.name for field in fields(InitialModelSettings)}
    given: dict[str, Any] = {k: v for k, v in parameters.model_dump().items() if k in names and v is not None}
    settings = InitialModelSettings(
        **({"particle_diameter_angstrom": _DIAMETER_SHARE * box_angstrom} | given),
        symmetrise_during=not parameters.run_in_c1,
    )
    return InitialModelJob(loaded.images, settings, request.seed, request.threads)


def _files(
    request: StageRequest, parameters: InitialModelParameters, job: InitialModelJob, loaded: ParticleImages
) -> InitialModelFiles:
    from cryorepro.em.initial_model_files import InitialModelFiles

    return InitialModelFiles(
        directory=request.output_dir,
        particles=loaded.particles,
        group_names=loaded.group_names,
        noise_of_group=loaded.noise_of_group,
        settings=job.settings,
        seed=request.seed,
        box_px=job.images.box_px,
        pixel_size_angstrom=job.images.pixel_size_angstrom,
        write_every=parameters.write_every,
    )


def _first_state(request: StageRequest, job: InitialModelJob, files: InitialModelFiles) -> InitialModelState:
    """The last complete iteration when resuming, else the start, which is written as iteration 0."""
    from cryorepro.em.formats.relion_job import last_iteration
    from cryorepro.em.initial_model_start import start_state

    images, classes = job.images, job.settings.number_of_classes
    if request.resume:
        last = last_iteration(request.output_dir, rows=len(images), box_px=images.box_px, number_of_classes=classes)
        if last is not None and last.path("state.npz").exists():
            print(f"resuming after iteration {last.number}", flush=True)
            return files.read(last.number)
        if last is not None:
            print(f"resuming after iteration {last.number} of RELION's files: the gradient begins afresh", flush=True)
            return files.adopt(last)
    files.clear()
    state = start_state(job)
    files.write(state)
    return state


def _final_map(job: InitialModelJob, state: InitialModelState) -> Tensor:
    """The largest class's map; a symmetry not yet imposed is found and imposed."""
    from cryorepro.em.map_symmetry import find_axes, symmetrised_on_axes

    settings, pixel = job.settings, job.images.pixel_size_angstrom
    volume = state.model.volumes[int(state.model.class_fractions.argmax())]
    if settings.symmetry == settings.running_symmetry:
        return volume
    axes = find_axes(volume, settings.symmetry, pixel, settings.final_resolution_angstrom)
    print(f"axes of {settings.symmetry}: correlation of the map with itself {axes.correlation:.3f}", flush=True)
    return symmetrised_on_axes(volume, axes, settings.symmetry)


def _line(files: InitialModelFiles, state: InitialModelState, seconds: float) -> str:
    """One line on an iteration, for people and logs."""
    model = state.model
    shares = " ".join(f"{share:.3f}" for share in model.class_fractions.tolist())
    return (
        f"iteration {model.iteration}/{files.settings.iterations}  "
        f"compared to {files.resolution_angstrom(model.image_radius):.2f} A  "
        f"classes {shares}  Pmax {model.average_pmax:.3f}  {seconds:.1f} s"
    )


if __name__ == "__main__":
    run_program(work)
