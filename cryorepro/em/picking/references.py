"""Templates read from files: class averages (a stack, or a model that lists them), or a map that is projected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.mrc import MrcHeader, read_mrc_header
from cryorepro.em.formats.references import reference_names
from cryorepro.em.picking.image_templates import References, project
from cryorepro.em.reextraction import fourier_crop
from cryorepro.em.sampling import make_sampling
from cryorepro.em.selection import read_selection
from cryorepro.em.symmetry import symmetry_matrices

_MOST_IMAGES = 1000
_PIXELS_PER_LOWPASS = 4.0


def read_templates(
    path: Path, *, selection: Path | None, lowpass_angstrom: float, symmetry: str, healpix_order: int
) -> References:
    """Read references from a stack (``.mrcs``), a STAR file with rlnReferenceImage, or a map (``.mrc``, ``.map``).

    A selection of classes (see `selection`) leaves the others out; empty class averages are left out as well. A map is
    projected along the HEALPix directions of this order in one asymmetric unit of ``symmetry``.

    Raises:
        InputError: a file is malformed or not square, holds no image, or has no pixel size.
    """
    if path.suffix not in (".star", ".mrcs"):
        if selection is not None:
            raise InputError(f"{path}: a selection of classes cannot be made among the projections of a map.")
        return _projections(path, lowpass_angstrom, symmetry, healpix_order)
    images, pixel = _images(path)
    numbers = np.arange(1, len(images) + 1)
    if selection is not None:
        wanted = read_selection(selection)
        if max(wanted) > len(images):
            raise InputError(f"{selection}: class {max(wanted)} is selected, but {path} holds {len(images)} images.")
        numbers = np.array(sorted(wanted))
    kept = [int(number) for number in numbers if float(images[number - 1].std()) > 0.0]
    if not kept:
        raise InputError(f"{path}: no image has any contrast; there is nothing to pick with.")
    return References(torch.from_numpy(images[np.array(kept) - 1]), tuple(kept), pixel)


def _images(path: Path) -> tuple[NDArray[np.float32], float]:
    """All references of a stack or list, names relative to the file, and their one pixel size."""
    names = reference_names(path)
    if not 0 < len(names) <= _MOST_IMAGES:
        raise InputError(f"{path}: {len(names)} references; from 1 to {_MOST_IMAGES} are taken.")
    headers = {name: read_mrc_header(path.parent / name) for _, name in names}
    shapes = {header.shape[1:] for header in headers.values()}
    pixels = {float(f"{header.voxel_size_angstrom[2]:.7g}") for header in headers.values()}
    if len(shapes) != 1 or len(pixels) != 1 or len(set(shapes.copy().pop())) != 1 or min(pixels) <= 0:
        raise InputError(f"{path}: references must be square images of one size and one positive pixel size.")
    images = np.stack([_image(headers[name], number) for number, name in names])
    if not np.isfinite(images).all():
        raise InputError(f"{path}: a reference has NaN or infinite pixels.")
    return images, pixels.pop()


def _image(header: MrcHeader, number: int) -> NDArray[np.float32]:
    if number >= header.shape[0]:
        raise InputError(f"{header.path}: image {number + 1} is asked for, but the stack holds {header.shape[0]}.")
    stack = np.memmap(header.path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape)
    return np.array(stack[number], dtype=np.float32)


def _projections(path: Path, lowpass_angstrom: float, symmetry: str, healpix_order: int) -> References:
    volume, pixel = read_map(path)
    box = volume.shape[-1]
    if len(set(volume.shape)) != 1 or box % 2:
        raise InputError(f"{path}: a map of {volume.shape} voxels is no cube with an even side.")
    wanted = min(box, 2 * round(box * pixel * _PIXELS_PER_LOWPASS / lowpass_angstrom / 2.0))
    small = _cropped(volume, max(16, wanted)) if wanted < box else torch.from_numpy(volume)
    group = torch.as_tensor(symmetry_matrices(symmetry))
    grid = make_sampling(healpix_order, 0, 0.0, 1.0, symmetry=group).orientations()
    images = project(small, grid.matrices()[:, 0])
    return References(images, tuple(range(1, len(images) + 1)), pixel * box / small.shape[-1])


def _cropped(volume: NDArray[np.float32], box: int) -> Tensor:
    """A map at a coarser voxel: sections first, then each column of sections."""
    flat = np.stack([fourier_crop(section.astype(np.float64), box) for section in volume])
    full = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(flat, axes=0), axis=0), axes=0)
    start = volume.shape[0] // 2 - box // 2
    part = full[start : start + box].copy()
    part[0] = 0.0
    small = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(part, axes=0), axis=0), axes=0).real
    return torch.from_numpy((small * box / volume.shape[0]).astype(np.float32))
