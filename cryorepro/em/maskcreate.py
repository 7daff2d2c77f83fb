"""Soft masks of cubic maps: spheres, and shapes grown from a thresholded map."""

from __future__ import annotations

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.lowpass import Map, Volume, check_cubic, lowpass_map, raised_cosine


def spherical_mask(box_px: int, radius_px: float, soft_edge_px: float) -> Volume:
    """A sphere about voxel ``box // 2``: 1 within ``radius_px``, a raised-cosine edge outside it."""
    axis = np.arange(box_px, dtype=np.float64) - box_px // 2
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return raised_cosine(distance, radius_px, radius_px + soft_edge_px)


def create_mask(
    volume: Map,
    pixel_size_angstrom: float,
    threshold: float,
    lowpass_angstrom: float | None = None,
    extend_px: float = 3.0,
    soft_edge_px: float = 6.0,
) -> Volume:
    """Make a soft mask from a map, with the rules of ``relion_mask_create``.

    The map is low-passed, cut at ``threshold``, grown by every voxel nearer than ``extend_px`` to it, and
    given a raised-cosine edge of ``soft_edge_px``.

    Returns:
        float64 ``[n, n, n]``, values in 0 to 1.

    Raises:
        InputError: the map is not a finite cube, a length is negative, or no voxel, or every voxel, is above
            the threshold.
    """
    # here: spheres alone need no distances, and the import takes longer than a sphere
    from scipy import ndimage

    check_cubic(volume)
    if extend_px < 0.0 or soft_edge_px < 0.0:
        raise InputError(f"mask: extend_px {extend_px} and soft_edge_px {soft_edge_px} must not be negative")
    smooth = volume if lowpass_angstrom is None else lowpass_map(volume, lowpass_angstrom, pixel_size_angstrom)
    inside = np.asarray(smooth) >= threshold
    if not inside.any():
        raise InputError(f"mask: no voxel is above the threshold {threshold}; the map reaches {smooth.max():.4g}")
    if inside.all():
        raise InputError(f"mask: every voxel is above the threshold {threshold}; nothing is left outside")
    if extend_px > 0.0:
        inside |= ndimage.distance_transform_edt(~inside) < extend_px
    if inside.all():
        raise InputError(f"mask: extending by {extend_px} voxels fills the whole box")
    return raised_cosine(np.asarray(ndimage.distance_transform_edt(~inside)), 0.0, soft_edge_px)
