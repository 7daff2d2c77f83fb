"""The local tier of EMPIAR-10146: real particles checked and copied without their poses, a reference, a mask.

The reference is the density of PDB 4V1W, centred, turned so that its axes are those of RELION's octahedral
setting, low-passed, and put on the grey scale of the particles.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from cryorepro.em.atomic import AtomicModel, model_density, read_model
from cryorepro.em.ctf import CtfParameters
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.greyscale import rotational_grey_scale
from cryorepro.em.maskcreate import create_mask
from cryorepro.em.model_symmetry import orient_to_symmetry
from cryorepro.em.particle_ctf import ctf_parameters
from cryorepro.em.streams import random_stream
from cryorepro.model.base import Record
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.apoferritin_micrographs import prepare_micrographs
from cryorepro_datasets.empiar_10146 import (
    BOX_PX,
    DIAMETER_ANGSTROM,
    MODEL_NAME,
    PIXEL_SIZE_ANGSTROM,
    ROWS,
    STAR_NAME,
    SYMMETRY,
    VOLTAGE_KV,
)

_CHUNK = 256
_POSE_LABELS = (
    "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst", "rlnRandomSubset",
)  # fmt: skip
_MASK_LOWPASS_ANGSTROM = 20.0
_MASK_LEVEL = 0.1
_MASK_EXTEND_PX, _MASK_EDGE_PX = 2.0, 5.0


class SubsetParameters(Record):
    """What decides the tier's files, beside the seed."""

    particles: int | None = Field(None, ge=30, le=ROWS, description="a seeded selection; all without it")
    model: Path | None = Field(None, description="the atomic model, where it is not beside the particles")
    reference_low_pass_angstrom: float = Field(20.0, ge=6.0, le=200.0)
    micrographs: bool = Field(False, description="micrographs and people's labels instead of particles")


def prepare_subset(request: DataRequest) -> PreparedData:
    """Write particles, reference and mask; see :class:`~cryorepro_datasets.empiar_10146.Empiar10146`."""
    parameters = _parameters(request.parameters)
    assert request.local_path is not None
    if parameters.micrographs:
        model_path = parameters.model or _find_model(request.local_path)
        return prepare_micrographs(request, model_path, parameters.reference_low_pass_angstrom)
    particles, images = _read(request.local_path)
    if parameters.particles is not None:
        chosen = np.sort(random_stream(request.seed, "subset").choice(len(particles), parameters.particles, False))
        particles, images = particles.subset(chosen), images[chosen]
    model_path = parameters.model or _find_model(request.local_path)
    model = orient_to_symmetry(read_model(model_path), SYMMETRY)
    directory = request.directory
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "particles": directory / "particles.star",
        "stack": directory / "particles.mrcs",
        "model": directory / MODEL_NAME,
    }
    shutil.copyfile(model_path, files["model"])
    _write_particles(files["particles"], files["stack"], particles, images)
    files |= _write_maps(directory, model, images, ctf_parameters(particles), parameters)
    return PreparedData(
        files=files,
        rows={"particles": len(particles)},
        box_px=BOX_PX,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        voltage_kv=VOLTAGE_KV,
        origin=f"{len(particles)} real particles of EMPIAR-10146, poses removed; reference from PDB 4V1W",
        parameters={"symmetry": SYMMETRY, "particle_diameter_angstrom": DIAMETER_ANGSTROM},
    )


def _parameters(given: dict[str, Any]) -> SubsetParameters:
    try:
        return SubsetParameters.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"empiar-10146 subset: parameter {field}: {first['msg']}.") from error


def _read(folder: Path) -> tuple[Particles, np.ndarray]:
    """The table and its images, held against what the dataset declares."""
    star = folder / STAR_NAME
    if not star.is_file():
        raise InputError(f"{folder}: holds no {STAR_NAME}, so it is no copy of the particles of EMPIAR-10146.")
    particles = read_particles(star)
    stack = ParticleStack.open(particles, root=folder)
    _declared(star, "rows", len(particles), ROWS)
    _declared(star, "box", stack.box_px, BOX_PX)
    _declared(star, "rlnImagePixelSize", particles.pixel_size_angstrom, PIXEL_SIZE_ANGSTROM, 1e-3)
    for group in particles.optics:
        _declared(star, "rlnVoltage", group.voltage_kv, VOLTAGE_KV, 0.1)
    return particles, stack.read()


def _declared(star: Path, what: str, found: float, declared: float, tolerance: float = 0.0) -> None:
    if abs(found - declared) > tolerance:
        raise InputError(f"{star}: {what} is {found:g}, but EMPIAR-10146 is declared with {declared:g}.")


def _find_model(folder: Path) -> Path:
    resolved = folder.resolve()
    places = [resolved, resolved.parent, resolved.parent / "models"]
    found = next((place / MODEL_NAME for place in places if (place / MODEL_NAME).is_file()), None)
    if found is None:
        raise InputError(f"{folder}: {MODEL_NAME} is neither in it, beside it, nor in ../models.")
    return found


def _write_particles(star: Path, stack: Path, particles: Particles, images: np.ndarray) -> None:
    """A float32 copy, which RELION 3.1 can read as well, and a table that knows no pose."""
    chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
    write_stack_chunks(stack, chunks, len(images), BOX_PX, PIXEL_SIZE_ANGSTROM)
    names = np.array([f"{i + 1:06d}@{stack.name}" for i in range(len(images))], dtype=object)
    write_particles(star, particles.without_columns(_POSE_LABELS).with_columns(rlnImageName=names))


def _write_maps(
    directory: Path, model: AtomicModel, images: np.ndarray, ctf: CtfParameters, parameters: SubsetParameters
) -> dict[str, Path]:
    def density(lowpass_angstrom: float) -> np.ndarray:
        volume = model_density(model, BOX_PX, PIXEL_SIZE_ANGSTROM, lowpass_angstrom=lowpass_angstrom)
        return volume * rotational_grey_scale(images, ctf, volume, PIXEL_SIZE_ANGSTROM)

    reference = density(parameters.reference_low_pass_angstrom)
    smooth = density(_MASK_LOWPASS_ANGSTROM)
    level = _MASK_LEVEL * float(smooth.max())
    mask = create_mask(smooth, PIXEL_SIZE_ANGSTROM, level, extend_px=_MASK_EXTEND_PX, soft_edge_px=_MASK_EDGE_PX)
    paths = {"reference": directory / "reference.mrc", "mask": directory / "mask.mrc"}
    write_map(paths["reference"], reference, PIXEL_SIZE_ANGSTROM)
    write_map(paths["mask"], mask, PIXEL_SIZE_ANGSTROM)
    return paths
