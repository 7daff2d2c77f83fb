"""How like named views class averages are: the best normalised correlation over in-plane turns and shifts.

Views are images of a stack, or projections of a map from directions all over the sphere.  Both sides are low-passed
by a crop in Fourier space and masked alike, so that a class average of few particles is not judged by its noise.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em import healpix
from cryorepro.em.errors import InputError
from cryorepro.em.formats.square_images import read_square_images
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.masks import soft_circle
from cryorepro.em.projection import Projector
from cryorepro.em.rotations import euler_to_matrix
from cryorepro.em.view_scores import Similarity

_VIEW_ORDER = 2  # 192 directions, 15 degrees apart
_TURN_STEP_DEG = 6.0
_LEAST_SHELLS = 6
_MASK_SHARE = 0.42  # of the box: radius of the circle compared
_TURNS_AT_ONCE = 512


def similarity_to_views(averages: Path, views: Path, resolution_angstrom: float) -> Similarity:
    """Compare class averages (a stack) with views (a stack, or a cubic map to be projected).

    Args:
        averages: ``[k, n, n]``.
        views: ``[v, n, n]`` of the same box and pixel size; a cube of the box's size is taken for a map, unless its
            name ends in ``.mrcs``.
        resolution_angstrom: finest detail compared.

    Raises:
        InputError: a file is missing or malformed, or box or pixel size differ.
    """
    ours, pixel = read_square_images(averages)
    named, other = read_square_images(views)
    box = ours.shape[-1]
    if named.shape[1:] != ours.shape[1:]:
        raise InputError(f"{views}: images of {named.shape[-1]} pixels, the class averages have {box}.")
    if abs(pixel - other) > 1e-2 * pixel:
        raise InputError(f"{views}: pixels of {other:g} Angstrom, the class averages have {pixel:g}.")
    shells = min(box // 2 - 1, max(_LEAST_SHELLS, round(box * pixel / resolution_angstrom)))
    volume = named.shape[0] == box and views.suffix != ".mrcs"
    seen = _projections(named) if volume else named
    return best_matches(ours, seen, shells)


def best_matches(averages: NDArray[np.float32], views: NDArray[np.float32], shells: int) -> Similarity:
    """The most similar of ``views [v, n, n]`` for each of ``averages [k, n, n]``, out to ``shells``."""
    ours, theirs = (_small(torch.from_numpy(images), shells) for images in (averages, views))
    turned = _turned(theirs)
    spectra = torch.fft.rfft2(_unit(ours)).conj()
    best = torch.full((ours.shape[0],), -torch.inf)
    place = torch.zeros(ours.shape[0], dtype=torch.int64)
    turns = turned.shape[0] // theirs.shape[0]
    for start in range(0, turned.shape[0], _TURNS_AT_ONCE):
        block = torch.fft.rfft2(_unit(turned[start : start + _TURNS_AT_ONCE]))
        for number, spectrum in enumerate(spectra):
            peaks = torch.fft.irfft2(block * spectrum, s=ours.shape[1:]).amax(dim=(1, 2))
            if peaks.max() > best[number]:
                best[number], place[number] = peaks.max(), (start + int(peaks.argmax())) // turns
    return Similarity(best.double().numpy(), place.numpy() + 1)


def _projections(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Projections ``[192, n, n]`` of a map from all over the sphere."""
    box = volume.shape[-1]
    plane = half_plane(box, box // 2 - 1)
    angles = healpix.pixel_angles_deg(_VIEW_ORDER)
    euler = torch.cat([angles, torch.zeros(angles.shape[0], 1, dtype=torch.float64)], dim=1)
    slices = Projector(torch.from_numpy(volume), box // 2 - 1).slices(euler_to_matrix(euler), plane)
    sign = (1 - 2 * ((plane.kx + plane.ky) % 2)).to(torch.float32)
    spectra = torch.zeros(slices.shape[0], box * (box // 2 + 1), dtype=torch.complex64)
    spectra[:, plane.columns] = slices * sign
    own_mates = plane.kx == 0
    mirrored = (-plane.ky[own_mates] % box) * (box // 2 + 1)
    spectra[:, mirrored] = (slices * sign)[:, own_mates].conj()
    images: NDArray[np.float32] = torch.fft.irfft2(spectra.reshape(-1, box, box // 2 + 1), s=(box, box)).numpy()
    return images


def _small(images: Tensor, shells: int) -> Tensor:
    """Images cropped in Fourier space to hold ``shells``, masked, without their mean: ``[b, m, m]``."""
    box, side = images.shape[-1], 2 * (shells + 1)
    plane = half_plane(box, shells)
    coefficients = image_coefficients(images, plane)
    sign = (1 - 2 * ((plane.kx + plane.ky) % 2)).to(torch.float32)
    spectra = torch.zeros(images.shape[0], side * (side // 2 + 1), dtype=torch.complex64)
    spectra[:, plane.ky % side * (side // 2 + 1) + plane.kx] = coefficients * sign
    column = plane.kx == 0
    spectra[:, -plane.ky[column] % side * (side // 2 + 1)] = (coefficients * sign)[:, column].conj()
    small: Tensor = torch.fft.irfft2(spectra.reshape(-1, side, side // 2 + 1), s=(side, side))
    return small * _circle(side)


def _circle(side: int) -> Tensor:
    return soft_circle(side, _MASK_SHARE * side, 2.0)


def _turned(images: Tensor) -> Tensor:
    """Every image at every in-plane turn, turn after turn of one image: ``[v * turns, m, m]``."""
    side, turns = images.shape[-1], round(360.0 / _TURN_STEP_DEG)
    axis = torch.arange(side) - side // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    parts = []
    for turn in range(turns):
        angle = math.radians(turn * _TURN_STEP_DEG)
        at_x = (math.cos(angle) * x + math.sin(angle) * y + side // 2 + 0.5) * 2.0 / side - 1.0
        at_y = (-math.sin(angle) * x + math.cos(angle) * y + side // 2 + 0.5) * 2.0 / side - 1.0
        grid = torch.stack([at_x, at_y], dim=-1)[None].float()
        parts.append(torch.nn.functional.grid_sample(images[None], grid, mode="bicubic", align_corners=False)[0])
    return torch.stack(parts, dim=1).flatten(0, 1)


def _unit(images: Tensor) -> Tensor:
    """Within the circle: mean 0 and norm 1; a flat image gives zeros."""
    circle = _circle(images.shape[-1])
    mean = (images * circle).sum(dim=(1, 2), keepdim=True) / circle.sum()
    centred = (images - mean) * circle
    norm = centred.square().sum(dim=(1, 2), keepdim=True).sqrt()
    return centred / norm.clamp(min=1e-12 * float(norm.max()) + 1e-30)
