"""The real particles of EMPIAR-10028 from a local copy, checked against what the deposit declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from cryorepro.em.errors import InputError
from cryorepro.em.formats.errata import Erratum, erratum_from, load_errata
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.streams import random_stream
from cryorepro.model.base import Record
from cryorepro.model.dataset import AppliedErratum, DataRequest, PreparedData
from cryorepro.model.shipped import shipped
from cryorepro_datasets.empiar_10028 import BOX_PX, PIXEL_SIZE_ANGSTROM, ROWS, STAR_PATH, VOLTAGE_KV, needed
from cryorepro_datasets.reference_map import copy_reference

_PIXEL_TOLERANCE = 0.005  # relative: magnification and detector pixel are written with few figures
_CHUNK = 64


class DepositParameters(Record):
    """What a person may choose about the real tiers."""

    particles: int = Field(2000, ge=1, description="rows of the subset")
    reference: Path | None = Field(None, description="emd_2660.map, if it is not beside the particles")


def prepare_full(request: DataRequest) -> PreparedData:
    """Link every stack and write the cured table beside the links.

    Raises:
        InputError: The copy is incomplete or is not the deposit.
    """
    parameters, star, particles, stack = _open(request)
    names = _link_stacks(stack, request.directory)
    table = particles.with_box(BOX_PX).with_columns(rlnImageName=names)
    text = f"all {ROWS} particles of EMPIAR-10028, from a local copy"
    return finish(request, parameters, star, table, text, table.errata)


def prepare_subset(request: DataRequest) -> PreparedData:
    """Copy a seeded selection of the particles into one stack, with the rows they came from.

    The pixels are copied rather than linked, so that the tier is the same files wherever the deposit was, and
    its hashes cover the pixels.

    Raises:
        InputError: The copy is incomplete or is not the deposit, or more particles are asked for than it has.
    """
    parameters, star, particles, stack = _open(request)
    count = parameters.particles
    if count > len(particles):
        raise InputError(f"empiar-10028: parameter particles: {count} exceeds the {len(particles)} of {star}.")
    rows = np.sort(random_stream(request.seed, "subset").choice(len(particles), size=count, replace=False))
    chunks = (stack.read(rows[i : i + _CHUNK]) for i in range(0, count, _CHUNK))
    write_stack_chunks(request.directory / "particles.mrcs", chunks, count, BOX_PX, PIXEL_SIZE_ANGSTROM)
    names = np.array([f"{i + 1:06d}@particles.mrcs" for i in range(count)], dtype=object)
    table = particles.subset(rows).with_box(BOX_PX).with_columns(rlnImageName=names)
    origins = [particles.columns["rlnImageName"][row] for row in rows]
    block = make_block("origin", {"cryoreproDepositRow": rows + 1, "rlnImageOriginalName": origins})
    write_star(request.directory / "origin_rows.star", [block])
    text = f"{count} of the {ROWS} particles of EMPIAR-10028, seed {request.seed}, from a local copy"
    prepared = finish(request, parameters, star, table, text, table.errata)
    extra = {
        "stack": request.directory / "particles.mrcs",
        "origin_rows": request.directory / "origin_rows.star",
    }
    return prepared.model_copy(update={"files": {**prepared.files, **extra}})


def find_star(path: Path, tier: str) -> Path:
    """The particle table of a local copy, given the table, the deposit's directory or one inside it.

    Raises:
        InputError: There is none; the sentence says what is needed and how to get it.
    """
    if path.is_file():
        return path
    parts = Path(STAR_PATH).parts
    for start in range(len(parts)):
        candidate = path.joinpath(*parts[start:])
        if candidate.is_file():
            return candidate
    raise InputError(f"{path}: holds no {STAR_PATH}; {needed(tier)}")


def declared_errata(request: DataRequest) -> tuple[Erratum, ...]:
    """The errata of the request, or those shipped for this dataset."""
    if request.errata:
        return tuple(erratum_from(record, "the request's errata") for record in request.errata)
    return load_errata(shipped("registry") / "errata" / "empiar-10028.yaml")


def parse_parameters(request: DataRequest) -> DepositParameters:
    """The request's parameters. Raises InputError naming the first that is unknown or out of range."""
    try:
        return DepositParameters.model_validate(request.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"empiar-10028: parameter {field}: {first['msg']}.") from error


def _open(request: DataRequest) -> tuple[DepositParameters, Path, Particles, ParticleStack]:
    parameters = parse_parameters(request)
    assert request.local_path is not None  # the caller has checked
    star = find_star(request.local_path, request.tier)
    particles = read_particles(star, errata=declared_errata(request))
    check_declared(particles, star)
    stack = ParticleStack.open(particles)
    if stack.box_px != BOX_PX:
        raise InputError(f"{star}: box {stack.box_px} is not the {BOX_PX} that EMPIAR-10028 declares.")
    request.directory.mkdir(parents=True, exist_ok=True)
    return parameters, star, particles, stack


def check_declared(particles: Particles, star: Path) -> None:
    """Hold a particle table against what the dataset declares. Raises InputError naming what differs."""
    rows = len(particles)
    if rows != ROWS:
        raise InputError(f"{star}: {rows} particles are not the {ROWS} that EMPIAR-10028 declares.")
    for group in particles.optics:
        if abs(group.pixel_size_angstrom / PIXEL_SIZE_ANGSTROM - 1.0) > _PIXEL_TOLERANCE:
            raise InputError(
                f"{star}: pixel size {group.pixel_size_angstrom:g} A (from rlnMagnification) "
                f"is not the {PIXEL_SIZE_ANGSTROM} A that EMPIAR-10028 declares."
            )
        if abs(group.voltage_kv - VOLTAGE_KV) > 0.5:
            raise InputError(
                f"{star}: rlnVoltage {group.voltage_kv:g} is not the {VOLTAGE_KV:g} kV that EMPIAR-10028 declares."
            )


def _link_stacks(stack: ParticleStack, directory: Path) -> NDArray[np.object_]:
    """Link each stack under a name of its own (the deposit numbers two folders alike); return image names."""
    links = directory / "stacks"
    links.mkdir(exist_ok=True)
    names = [f"{i + 1:05d}_{path.name}" for i, path in enumerate(stack.images.paths)]
    for name, path in zip(names, stack.images.paths, strict=True):
        (links / name).symlink_to(path.resolve())
    return np.array(list(_linked_names(stack, names)), dtype=object)


def _linked_names(stack: ParticleStack, names: list[str]) -> Iterator[str]:
    for file, section in zip(stack.images.path_index, stack.images.slice_index, strict=True):
        yield f"{int(section) + 1:06d}@stacks/{names[int(file)]}"


def finish(
    request: DataRequest,
    parameters: DepositParameters,
    star: Path,
    table: Particles,
    origin: str,
    errata: tuple[Erratum, ...],
) -> PreparedData:
    """Write the table and the reference, and say what was prepared.

    Raises:
        InputError: There is no reference, or it does not fit.
    """
    reference = copy_reference(star, parameters.reference, request.directory / "reference.mrc", request.tier)
    write_particles(request.directory / "particles.star", table)
    recorded: dict[str, Any] = {"seed": request.seed} if request.tier == "subset" else {}
    return PreparedData(
        files={"particles": request.directory / "particles.star", "reference": reference},
        rows={"particles": len(table)},
        box_px=BOX_PX,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        voltage_kv=VOLTAGE_KV,
        errata=[AppliedErratum(id=e.id, file=e.file_name, evidence=e.evidence, action=e.action) for e in errata],
        origin=origin,
        parameters=recorded | {"particles": len(table)},
    )
