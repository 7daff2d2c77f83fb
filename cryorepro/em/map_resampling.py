"""A map on another grid: another box by cropping or padding, then another pixel size by cropping in Fourier space."""

from __future__ import annotations

import numpy as np
from scipy import fft

from cryorepro.em.errors import InputError
from cryorepro.em.lowpass import Map, Volume, check_cubic, fourier_radius

_CLOSE = 2e-3


def resample_map(volume: Map, pixel_size_angstrom: float, box_px: int, wanted_pixel_angstrom: float) -> Volume:
    """``volume [n, n, n]`` in a box of ``box_px`` voxels of ``wanted_pixel_angstrom``, its origin voxel kept.

    Raises:
        InputError: the map is no cube, boxes are odd, or no whole number of its voxels fills the wanted box.
    """
    box = check_cubic(volume, "map")
    exact = box_px * wanted_pixel_angstrom / pixel_size_angstrom
    source = 2 * round(exact / 2.0)
    if box % 2 or box_px % 2 or source < 2 or abs(source / exact - 1.0) > _CLOSE:
        raise InputError(
            f"a map of {box} voxels of {pixel_size_angstrom:.4g} A cannot be laid on {box_px} voxels of "
            f"{wanted_pixel_angstrom:.4g} A: {exact:.2f} of its voxels would fill that box"
        )
    return _fourier_resized(_resized(np.asarray(volume, dtype=np.float64), source), box_px)


def _resized(volume: Volume, box: int) -> Volume:
    """Crop, or pad with zeros, about the origin voxel."""
    old = volume.shape[0]
    if box <= old:
        start = old // 2 - box // 2
        return volume[start : start + box, start : start + box, start : start + box]
    out = np.zeros((box,) * 3)
    start = box // 2 - old // 2
    out[start : start + old, start : start + old, start : start + old] = volume
    return out


def _fourier_resized(volume: Volume, box: int) -> Volume:
    old = volume.shape[0]
    if old == box:
        return volume
    spectrum = fft.rfftn(fft.ifftshift(volume))
    small = min(old, box)
    keep, place = (np.r_[0 : small // 2, side - small // 2 + 1 : side] for side in (old, box))
    half = np.arange(small // 2)
    out = np.zeros((box, box, box // 2 + 1), dtype=np.complex128)
    out[np.ix_(place, place, half)] = spectrum[np.ix_(keep, keep, half)]
    out[fourier_radius(box) >= small // 2] = 0.0
    return np.asarray(fft.fftshift(fft.irfftn(out, s=(box, box, box))) * (box / old) ** 3)
