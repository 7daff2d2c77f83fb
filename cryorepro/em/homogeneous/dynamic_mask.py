"""A mask made anew from the map of every iteration: low-pass, threshold, grow, soften, stay within the particle."""

from __future__ import annotations

import torch
from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.homogeneous.options import HomogeneousOptions
from cryorepro.em.maskcreate import create_mask
from cryorepro.em.masks import soft_sphere

# Distances in voxels below which a mask would cut into what a coarse grid still holds.
_LEAST_NEAR_PX, _LEAST_EDGE_PX = 2.0, 4.0


def sphere(box_px: int, pixel_size_angstrom: float, options: HomogeneousOptions) -> Tensor:
    """Soft sphere ``[n, n, n]`` float32 of the particle's diameter."""
    return soft_sphere(box_px, options.particle_diameter_angstrom / (2.0 * pixel_size_angstrom))


def mask_of(
    volume: Tensor, pixel_size_angstrom: float, resolution_angstrom: float, options: HomogeneousOptions
) -> Tensor:
    """Mask ``[n, n, n]`` float32 of a map: the dynamic one, the one given, or the particle's sphere.

    A map without a voxel above the threshold, or without one below, gets the sphere.
    """
    whole = sphere(volume.shape[0], pixel_size_angstrom, options)
    if options.solvent_mask is not None:
        return options.solvent_mask.float()
    if not options.dynamic_mask:
        return whole
    inner = (volume * whole).double().numpy()
    lowpass = max(options.mask_lowpass_angstrom, resolution_angstrom, 2.0 * pixel_size_angstrom)
    near = max(options.mask_near_angstrom / pixel_size_angstrom, _LEAST_NEAR_PX)
    edge = max(options.mask_far_angstrom / pixel_size_angstrom - near, _LEAST_EDGE_PX)
    try:
        made = create_mask(inner, pixel_size_angstrom, options.mask_threshold * float(inner.max()), lowpass, near, edge)
    except InputError:
        return whole
    return torch.from_numpy(made).float() * whole
