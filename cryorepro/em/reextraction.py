"""Particles cut again where a refinement found them: whole-pixel offsets are taken out, the remainder stays.

A particle's origin is the shift that centres it, so it stands at its coordinate minus its origin (RELION's
convention). From micrographs that place is rounded and a new box is cut there; without micrographs the image itself
is moved by whole pixels, and what comes in from outside is the mean of its background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import read_star

Floats = NDArray[np.float64]
_BACKGROUND_PART_OF_BOX = 0.375
_FLAT = 1e-12


@dataclass(frozen=True)
class Cutting:
    """How images are cut: ``box_px`` of the source, ``rescaled_box_px`` after cropping in Fourier space."""

    box_px: int
    rescaled_box_px: int
    normalise: bool = True
    background_radius_px: float | None = None
    invert_contrast: bool = False

    def finished(self, image: Floats) -> NDArray[np.float32]:
        """A cut image ``[box, box]`` as it is written: rescaled, of bright particles, background 0 +- 1.

        Raises ValueError where the background is flat.
        """
        out = fourier_crop(-image if self.invert_contrast else image, self.rescaled_box_px)
        if self.normalise:
            radius = self.background_radius_px or _BACKGROUND_PART_OF_BOX * self.rescaled_box_px
            outside = out[background(self.rescaled_box_px, radius)]
            deviation = outside.std()
            if deviation < _FLAT:
                raise ValueError("the background is flat")
            out = (out - outside.mean()) / deviation
        return out.astype(np.float32)


def background(box_px: int, radius_px: float) -> NDArray[np.bool_]:
    """Pixels ``[box, box]`` further than ``radius_px`` from the origin pixel."""
    y, x = np.indices((box_px, box_px)) - box_px // 2
    return np.asarray(x**2 + y**2 > radius_px**2)


def fourier_crop(image: Floats, box_px: int) -> Floats:
    """An image ``[n, n]`` at a coarser pixel, mean and origin kept; ``box_px`` even and at most n.

    The cropped transform's own Nyquist lines are left out: they would stand for two frequencies at once.
    """
    size = image.shape[0]
    if box_px == size:
        return image
    full = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
    start = size // 2 - box_px // 2
    part = full[start : start + box_px, start : start + box_px].copy()
    part[0], part[:, 0] = 0.0, 0.0
    small = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(part))).real
    return np.asarray(small * (box_px / size) ** 2)


def cut(source: Floats, x: int, y: int, box_px: int) -> Floats:
    """The box ``[box, box]`` whose origin pixel is (x, y) of ``source``; beyond its edge the edge is repeated."""
    rows = np.clip(np.arange(y - box_px // 2, y + box_px // 2), 0, source.shape[0] - 1)
    columns = np.clip(np.arange(x - box_px // 2, x + box_px // 2), 0, source.shape[1] - 1)
    return source[np.ix_(rows, columns)]


def recentred(image: Floats, dx: int, dy: int, box_px: int) -> Floats:
    """An image moved by whole pixels and cropped to ``box_px``; what comes in is the mean of its background."""
    size = image.shape[0]
    fill = image[background(size, _BACKGROUND_PART_OF_BOX * size)].mean()
    padded = np.full((size + 2 * abs(dy), size + 2 * abs(dx)), fill)
    padded[abs(dy) : abs(dy) + size, abs(dx) : abs(dx) + size] = image
    middle = size // 2
    return cut(padded, middle + abs(dx) - dx, middle + abs(dy) - dy, box_px)


@dataclass(frozen=True)
class Micrographs:
    """The micrographs of a STAR file: path by name, all of one pixel size."""

    paths: dict[str, Path]
    pixel_size_angstrom: float


def read_micrographs(star: Path) -> Micrographs:
    """Names and files of micrographs; names are relative to the file or to a directory up to four above it.

    Raises:
        InputError: the list is malformed, a micrograph is missing, or nothing tells the pixel size.
    """
    blocks = read_star(star)
    listed = [block for block in blocks.values() if "rlnMicrographName" in block.columns]
    if not listed:
        raise InputError(f"{star}: column rlnMicrographName is missing; this is not a list of micrographs.")
    paths = {name: _find(star, name) for name in dict.fromkeys(listed[0].text("rlnMicrographName"))}
    sizes = [b.numbers("rlnMicrographPixelSize") for b in blocks.values() if "rlnMicrographPixelSize" in b.columns]
    values = set(sizes[0].tolist()) if sizes else {read_mrc_header(p).voxel_size_angstrom[2] for p in paths.values()}
    if len(values) != 1 or min(values) <= 0:
        raise InputError(f"{star}: rlnMicrographPixelSize must be one positive length, not {sorted(values)}.")
    return Micrographs(paths, values.pop())


def _find(star: Path, name: str) -> Path:
    directory = star.absolute().parent
    for base in (directory, *directory.parents[:4]):
        if (base / name).is_file():
            return base / name
    raise InputError(f"{star}: the micrograph {name} does not exist.")


def read_micrograph(path: Path) -> Floats:
    """One micrograph ``[rows, columns]``. Raises InputError if it is not a single finite image."""
    header = read_mrc_header(path)
    if header.shape[0] != 1:
        raise InputError(f"{path}: {header.shape[0]} sections; a micrograph has one.")
    mapped = np.memmap(path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape)
    image = np.asarray(mapped[0], dtype=np.float64)
    if not np.isfinite(image).all():
        raise InputError(f"{path}: the micrograph has NaN or infinite pixels.")
    return image


def places(particles: Particles, pixel_size_angstrom: float, recentre: bool) -> tuple[Floats, Floats]:
    """Places ``[n, 2]`` (x, y) of particles in whole micrograph pixels, and what is left of their origins in Angstrom.

    Raises:
        InputError: the table has no coordinates.
    """
    at = np.stack([particles.numbers("rlnCoordinateX"), particles.numbers("rlnCoordinateY")], axis=1)
    origins = particles.origins_angstrom
    if not recentre:
        return np.rint(at), origins
    exact = at - origins / pixel_size_angstrom
    whole = np.rint(exact)
    return whole, (whole - exact) * pixel_size_angstrom


def without_duplicates(particles: Particles, at_angstrom: Floats, within_angstrom: float) -> NDArray[np.int64]:
    """Rows that stay when of particles of one micrograph nearer than ``within_angstrom`` only the first is kept."""
    names = particles.column("rlnMicrographName").astype(str)
    keep = np.ones(len(particles), dtype=bool)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        for first, second in sorted(cKDTree(at_angstrom[rows]).query_pairs(within_angstrom)):
            if keep[rows[first]]:
                keep[rows[second]] = False
    return np.flatnonzero(keep)


def extracted_table(particles: Particles, cutting: Cutting, pixel_size_angstrom: float, left: Floats) -> Particles:
    """The table of the new images: their names, box and pixel size, and what is left of the origins in Angstrom."""
    size = float(f"{pixel_size_angstrom * cutting.box_px / cutting.rescaled_box_px:.8g}")
    optics = tuple(
        replace(group, pixel_size_angstrom=size, box_px=cutting.rescaled_box_px) for group in particles.optics
    )
    names = np.array([f"{row + 1:06d}@particles.mrcs" for row in range(len(particles))], dtype=object)
    moved = particles.with_columns(rlnImageName=names, rlnOriginXAngst=left[:, 0], rlnOriginYAngst=left[:, 1])
    return replace(moved, optics=optics)


def in_chunks(images: Iterator[NDArray[np.float32]], size: int = 256) -> Iterator[NDArray[np.float32]]:
    """Group single images ``[n, n]`` into chunks ``[<= size, n, n]``."""
    held: list[NDArray[np.float32]] = []
    for image in images:
        held.append(image)
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)
