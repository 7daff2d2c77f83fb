"""Inputs of a stage, checked before RELION starts: it notices some of this late, and some of it never."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from cryorepro.em.ctf_estimation_files import MicrographTable
from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import MrcHeader, read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stack_links import find_root
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import read_star
from cryorepro.em.movies.table import MovieTable
from cryorepro.model.stage import StageRequest

PIXEL_SIZE_TOLERANCE_ANGSTROM = 1e-3
"""RELION 3.1.3 refuses a reference whose pixel size differs by more (seen by trying)."""


@dataclass(frozen=True)
class ParticleInput:
    """A particle table whose stacks were checked.

    Attributes:
        star: The STAR file.
        root: The directory its image names are relative to; RELION takes them relative to where it runs.
        rows: Number of particles.
        box_px: Side of the images.
        pixel_size_angstrom: Of the first optics group, against which RELION holds the reference.
        has_poses: Whether Euler angles are in the table.
        has_offsets: Whether any particle has an offset other than 0.
    """

    star: Path
    root: Path
    rows: int
    box_px: int
    pixel_size_angstrom: float
    has_poses: bool
    has_offsets: bool


def check_roles(request: StageRequest, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """Check that the inputs are those the stage takes, and exist.

    Raises:
        InputError: one is missing, unknown or not a file.
    """
    where = f"stage {request.stage}: inputs"
    for role in required:
        if role not in request.inputs:
            raise InputError(f"{where}.{role} is not given.")
    for role, path in request.inputs.items():
        if role not in required + optional:
            raise InputError(f"{where}.{role}: RELION's {request.kind} takes no such input.")
        if not path.is_file():
            raise InputError(f"{where}.{role}: {path} does not exist.")


def read_input(request: StageRequest, *, ctf: bool) -> ParticleInput:
    """Read the particle table and check every stack: there, of its declared length, one box, no float16.

    Raises:
        InputError: something is missing or wrong; the sentence names the file.
    """
    star = request.inputs["particles"].absolute()
    particles = read_particles(star, require_ctf=ctf)
    root, images = find_root(particles)
    for path in images.paths:
        if read_mrc_header(path).dtype.itemsize == 2 and read_mrc_header(path).dtype.kind == "f":
            raise InputError(f"{path}: RELION 3.1 does not read half-precision stacks (MRC mode 12).")
    return ParticleInput(
        star=star,
        root=root,
        rows=len(particles),
        box_px=ParticleStack.open(particles, root=root).box_px,
        pixel_size_angstrom=particles.optics[0].pixel_size_angstrom,
        has_poses="rlnAngleRot" in particles.columns,
        has_offsets=bool(np.any(particles.origins_angstrom)),
    )


def check_map(path: Path, box_px: int, pixel_size_angstrom: float, against: str = "particles") -> None:
    """Check that a map or mask has the box and pixel size of what the input ``against`` holds.

    Raises:
        InputError: it has not; the sentence names the file.
    """
    header = read_mrc_header(path)
    if header.shape != (box_px,) * 3:
        sides = " x ".join(str(side) for side in reversed(header.shape))
        raise InputError(f"{path}: {sides} voxels, but {against} has a box of {box_px}.")
    found = pixel_size(header)
    if abs(found - pixel_size_angstrom) > PIXEL_SIZE_TOLERANCE_ANGSTROM:
        raise InputError(
            f"{path}: the header's pixel size is {found:g} Angstrom, that of {against} is {pixel_size_angstrom:g}."
        )


def check_reference(path: Path, data: ParticleInput, number_of_classes: int) -> None:
    """Check the reference: one map, or a STAR file that lists one map per class.

    Raises:
        InputError: a map is missing or does not fit the particles, or their number is not that of the
        classes.
    """
    if path.suffix != ".star":
        check_map(path, data.box_px, data.pixel_size_angstrom)
        return
    names = [name for block in read_star(path).values() for name in block.columns.get("rlnReferenceImage", [])]
    if len(names) != number_of_classes:
        raise InputError(f"{path}: rlnReferenceImage lists {len(names)} maps for {number_of_classes} classes.")
    for name in names:
        # RELION runs in the particles' directory and knows no other.
        check_map(data.root / name, data.box_px, data.pixel_size_angstrom)


def pixel_size(header: MrcHeader) -> float:
    """The x spacing of a map's voxels in Angstrom. Raises InputError if its header has none."""
    if header.voxel_size_angstrom[2] <= 0:
        raise InputError(f"{header.path}: the header has no pixel size.")
    return header.voxel_size_angstrom[2]


def relion_name(path: Path) -> str:
    """A map's path as RELION wants it: ``.map`` needs ``:mrc`` after it, or it is read as SPIDER."""
    return f"{path.absolute()}:mrc" if path.suffix == ".map" else str(path.absolute())


def folder_links(
    table: MicrographTable | MovieTable, directory: Path, label: str, taken: tuple[str, ...], why: str
) -> dict[str, str]:
    """What the first part of every relative name must lead to, as a link from ``directory``: RELION runs there.

    Raises:
        InputError: a name leads elsewhere, or its first part is ``taken`` by RELION's own results; says ``why``.
    """
    found: dict[str, str] = {}
    for name, path in zip(table.names, table.paths, strict=True):
        parts = PurePosixPath(name).parts
        if parts[0] in ("/", "..", ".", *taken):
            raise InputError(f"{table.source}: {label} {name} {why}.")
        target = path.absolute()
        for _ in parts[1:]:
            target = target.parent
        found[parts[0]] = os.path.relpath(target, directory.absolute())
    return found
