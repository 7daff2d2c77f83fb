"""How a homogeneous or non-uniform refinement works."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cryorepro.em.devices.choice import CPU


@dataclass(frozen=True)
class LocalFilterOptions:
    """The cross-validated local regularisation (`nonuniform`).

    Attributes:
        family: "lowpass", one for each voxel (`nonuniform`), or "bands", a gain for each (`nonuniform_bands`).
        order: of the Butterworth low-passes it chooses from.
        window_factor: size of the neighbourhood a choice is made on, in wavelengths of the filter.
        filters: how many bands or low-passes there are.
    """

    family: str = "lowpass"
    order: float = 8.0
    window_factor: float = 3.0
    filters: int = 20


@dataclass(frozen=True)
class HomogeneousOptions:
    """Options of a refinement; lengths in Angstrom or pixels as named.

    Attributes:
        particle_diameter_angstrom: of the circle around the particle in images.
        symmetry: ``[s, 3, 3]`` point group.
        healpix_order: of the coarsest grid of orientations.
        shift_range_px, shift_step_px: of the first search; later ones reach ``later_shift_range_px``.
        padding: of Fourier space.
        kernel: "linear" or "cubic", with which references are sliced.
        marginalise: average over the poses that the last level leaves, rather than take the best one.
        per_particle_scale: estimate an intensity for each particle.
        correct_ctf: model the CTF.
        join_halves_angstrom: to this resolution the halves share their sums.
        highest_angstrom: nothing finer is compared; None for what the FSC allows.
        dynamic_mask: make the mask from the map in every iteration; else ``solvent_mask`` or a sphere.
        mask_threshold: of the map's highest density, for the mask.
        mask_lowpass_angstrom, mask_near_angstrom, mask_far_angstrom: low-pass before the threshold; distances
            at which the mask begins and ends to fall.
        solvent_mask: ``[n, n, n]`` in place of the dynamic one.
        local_filter: of a non-uniform refinement; None filters uniformly by the FSC.
        without_gain: iterations without a gain in resolution after which the refinement ends.
        device: where particles are searched; maps are filtered on the CPU.
    """

    particle_diameter_angstrom: float
    symmetry: Tensor
    healpix_order: int = 3
    shift_range_px: float = 6.0
    later_shift_range_px: float = 3.0
    shift_step_px: float = 1.5
    padding: int = 2
    kernel: str = "linear"
    marginalise: bool = False
    per_particle_scale: bool = True
    correct_ctf: bool = True
    join_halves_angstrom: float = 40.0
    highest_angstrom: float | None = None
    dynamic_mask: bool = True
    mask_threshold: float = 0.2
    mask_lowpass_angstrom: float = 12.0
    mask_near_angstrom: float = 6.0
    mask_far_angstrom: float = 14.0
    solvent_mask: Tensor | None = None
    local_filter: LocalFilterOptions | None = field(default=None)
    without_gain: int = 2
    device: torch.device = CPU
