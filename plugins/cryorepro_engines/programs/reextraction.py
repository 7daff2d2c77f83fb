"""Stage program: particles cut again, recentred, from micrographs or, where there are none, from their own stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.selection_products import EXTRACTED, EXTRACTED_STACK
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.reextraction import (
    Cutting,
    Micrographs,
    cut,
    extracted_table,
    in_chunks,
    places,
    read_micrograph,
    read_micrographs,
    recentred,
    without_duplicates,
)
from cryorepro.model.class2d_stages import ReextractionParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program

Images = Iterator[NDArray[np.float32]]


def work(request: StageRequest) -> None:
    """Cut ``inputs.particles`` again, out of ``inputs.micrographs`` if they are given.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, or no particle is left.
    """
    parameters = parameters_of(request, ReextractionParameters)
    particles = read_particles(request.inputs["particles"], require_ctf=False)
    if "micrographs" in request.inputs:
        table, images = _from_micrographs(request, parameters, particles)
    else:
        table, images = _from_stack(request, parameters, particles)
    box, pixel = table.optics[0].box_px, table.optics[0].pixel_size_angstrom
    assert box is not None
    write_stack_chunks(request.output_dir / EXTRACTED_STACK, in_chunks(images), len(table), box, pixel)
    write_particles(request.output_dir / EXTRACTED, table)
    print(f"{len(table)} of {len(particles)} particles, box {box} px of {pixel:g} A", flush=True)


def _cutting(parameters: ReextractionParameters, box_px: int) -> Cutting:
    box = parameters.box_px or box_px
    rescaled = parameters.rescaled_box_px or box
    return Cutting(box, rescaled, parameters.normalise, parameters.background_radius_px, parameters.invert_contrast)


def _from_micrographs(
    request: StageRequest, parameters: ReextractionParameters, particles: Particles
) -> tuple[Particles, Images]:
    micrographs = read_micrographs(request.inputs["micrographs"])
    if parameters.box_px is None:
        raise InputError(f"stage {request.stage}: parameters.box_px is not given; micrographs do not tell it.")
    absent = sorted(set(particles.column("rlnMicrographName")) - set(micrographs.paths))
    if absent:
        raise InputError(f"{request.inputs['micrographs']}: the particles' micrograph {absent[0]} is not listed.")
    pixel, cutting = micrographs.pixel_size_angstrom, _cutting(parameters, parameters.box_px)
    at, left = places(particles, pixel, parameters.recentre)
    rows = _inside(particles, at, micrographs)
    within = parameters.duplicates_within_angstrom
    if within is not None:
        rows = rows[without_duplicates(particles.subset(rows), at[rows] * pixel, within)]
    if len(rows) == 0:
        raise InputError(f"{particles.source}: no particle is left to extract.")
    chosen = particles.subset(rows)
    table = extracted_table(chosen, cutting, pixel, left[rows])
    table = table.with_columns(rlnCoordinateX=at[rows, 0], rlnCoordinateY=at[rows, 1])
    return table, _cut_all(chosen, at[rows].astype(int), micrographs, cutting)


def _inside(particles: Particles, at: NDArray[np.float64], micrographs: Micrographs) -> NDArray[np.int64]:
    """Rows whose centre lies in their micrograph."""
    from cryorepro.em.formats.mrc import read_mrc_header

    names = particles.column("rlnMicrographName")
    sizes = {name: read_mrc_header(path).shape[:0:-1] for name, path in micrographs.paths.items()}
    limits = np.array([sizes[name] for name in names])
    return np.flatnonzero(((at >= 0) & (at < limits)).all(axis=1))


def _cut_all(particles: Particles, at: NDArray[np.int64], micrographs: Micrographs, cutting: Cutting) -> Images:
    held: tuple[str, NDArray[np.float64]] = ("", np.empty((0, 0)))
    for name, (x, y) in zip(particles.column("rlnMicrographName"), at.tolist(), strict=True):
        if name != held[0]:  # tables keep the particles of a micrograph together
            held = (name, read_micrograph(micrographs.paths[name]))
        yield _finished(cutting, cut(held[1], x, y, cutting.box_px), str(micrographs.paths[name]))


def _from_stack(
    request: StageRequest, parameters: ReextractionParameters, particles: Particles
) -> tuple[Particles, Images]:
    stack = ParticleStack.open(particles)
    if parameters.duplicates_within_angstrom is not None:
        raise InputError(f"stage {request.stage}: duplicates_within_angstrom needs inputs.micrographs.")
    if stack.box_px % 2 or (parameters.box_px or 0) > stack.box_px:
        raise InputError(f"stage {request.stage}: box_px must fit in the images' even box of {stack.box_px}.")
    pixel, cutting = particles.pixel_size_angstrom, _cutting(parameters, stack.box_px)
    origins = particles.origins_angstrom
    whole = np.rint(origins / pixel).astype(int) if parameters.recentre else np.zeros(origins.shape, dtype=int)
    table = extracted_table(particles, cutting, pixel, origins - whole * pixel)
    return table, _moved(stack, whole, cutting, Path(particles.source))


def _moved(stack: ParticleStack, whole: NDArray[np.int64], cutting: Cutting, source: Path) -> Images:
    limit = stack.box_px // 2
    for row, (dx, dy) in enumerate(whole.tolist()):
        if max(abs(dx), abs(dy)) >= limit:
            raise InputError(f"{source}: the offset of particle {row + 1} leads out of its image.")
        image = stack.read([row])[0].astype(np.float64)
        yield _finished(cutting, recentred(image, dx, dy, cutting.box_px), stack.images.name(row))


def _finished(cutting: Cutting, image: NDArray[np.float64], name: str) -> NDArray[np.float32]:
    try:
        return cutting.finished(image)
    except ValueError as error:
        raise InputError(f"{name}: {error}; the particle cannot be normalised.") from error


if __name__ == "__main__":
    run_program(work)
