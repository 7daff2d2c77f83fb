"""The reference of EMPIAR-10028's standard benchmark: EMD-2660, found beside the particles and checked."""

from __future__ import annotations

import gzip
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro_datasets.empiar_10028 import BOX_PX, MAP_URL, PIXEL_SIZE_ANGSTROM

_NAMES = ("emd_2660.map", "emd_2660.map.gz", "emd_2660.mrc")
_MAX_BYTES = 1024 + 4 * BOX_PX**3 + 2**20  # header, voxels and room for an extended header
_BLOCK = 2**20


def copy_reference(star: Path, given: Path | None, destination: Path, tier: str) -> Path:
    """Write the reference as plain float32 MRC to `destination` and return it.

    Args:
        star: The particle table; its directory and the ones above it are searched.
        given: The map, if a person named it.
        destination: Where to write.
        tier: For the message.

    Raises:
        InputError: There is no map, or its box or pixel size is not the particles'.
    """
    source = given if given is not None else _find(star, tier)
    plain = source
    if source.suffix == ".gz":
        plain = destination.with_name(source.stem)
        _decompress(source, plain)
    try:
        if set(read_mrc_header(plain).shape) != {BOX_PX}:
            raise InputError(f"{source}: a box of {read_mrc_header(plain).shape} is not the particles' {BOX_PX}.")
        volume, pixel = read_map(plain)
    finally:
        if plain != source:
            plain.unlink(missing_ok=True)
    if abs(pixel / PIXEL_SIZE_ANGSTROM - 1.0) > 0.01:
        raise InputError(f"{source}: voxels of {pixel:g} A are not the particles' {PIXEL_SIZE_ANGSTROM} A.")
    write_map(destination, volume, PIXEL_SIZE_ANGSTROM)
    return destination


def _find(star: Path, tier: str) -> Path:
    directory = star.resolve().parent
    for base in (directory, *directory.parents[:3]):
        for name in _NAMES:
            if (base / name).is_file():
                return base / name
    raise InputError(
        f"empiar-10028: tier '{tier}' needs the reference emd_2660.map beside {star} or above it; "
        f"to download it: wget {MAP_URL}."
    )


def _decompress(source: Path, destination: Path) -> None:
    written = 0
    try:
        with gzip.open(source) as packed, atomic_writer(destination) as plain:
            while block := packed.read(_BLOCK):
                written += len(block)
                if written > _MAX_BYTES:
                    raise InputError(f"{source}: unpacks to more than a map of box {BOX_PX}.")
                plain.write(block)
    except (OSError, EOFError) as error:
        raise InputError(f"{source}: cannot be unpacked ({error}).") from error
