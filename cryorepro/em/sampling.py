"""RELION's grid of orientations and shifts: HEALPix directions (nested, outer) times in-plane angles.

A coarse sample has children on the next finer grids: ``4**o`` directions, ``2**o`` in-plane angles and
``4**o`` shifts. Child ``c`` of direction ``d`` is fine direction ``4**o d + c``; child ``i`` of in-plane
angle ``p`` is ``2**o p + i``. The in-plane angles are evenly spaced and even in number on both grids, so that
angle ``p + n_psi / 2`` is ``p`` turned by 180 degrees; the expectation step uses that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em import healpix
from cryorepro.em.rotations import euler_to_matrix

# A direction on no symmetry axis of any point group in its usual setting: the seed of the asymmetric unit.
_GENERIC_DIRECTION = (0.2672612, 0.1336306, 0.9543135)


@dataclass(frozen=True)
class OrientationGrid:
    """Directions times in-plane angles, all perturbed by one rotation.

    Attributes:
        pixels: ``[d]`` nested HEALPix index of every direction.
        directions_deg: ``[d, 2]`` float64 (rot, tilt).
        psi_deg: ``[p]`` float64, evenly spaced over 360 degrees.
        perturbation_deg: every orientation A becomes A R, R of Euler angles (p, p, p).
    """

    pixels: Tensor
    directions_deg: Tensor
    psi_deg: Tensor
    perturbation_deg: float

    @property
    def shape(self) -> tuple[int, int]:
        """(number of directions, number of in-plane angles)."""
        return int(self.directions_deg.shape[0]), int(self.psi_deg.shape[0])

    def matrices(self, half_turn: bool = False) -> Tensor:
        """``[d, p, 3, 3]`` float64; with ``half_turn`` only the first half of the in-plane angles."""
        n_directions, n_psi = self.shape
        psi = self.psi_deg[: n_psi // 2] if half_turn else self.psi_deg
        euler = torch.empty(n_directions, psi.shape[0], 3, dtype=torch.float64)
        euler[..., :2] = self.directions_deg[:, None]
        euler[..., 2] = psi[None]
        turn = euler_to_matrix(torch.full((3,), self.perturbation_deg, dtype=torch.float64))
        return euler_to_matrix(euler) @ turn


@dataclass(frozen=True)
class Sampling:
    """One iteration's coarse grid and its oversampled children.

    ``perturbation`` is the random shift of both grids in units of their step, in [-0.5, 0.5].
    """

    healpix_order: int
    oversampling: int
    offset_range_px: float
    offset_step_px: float
    perturbation: float
    pixels: Tensor

    @property
    def psi_step_deg(self) -> float:
        """Angular step of the coarse grid: 360 / (6 * 2**order)."""
        return 360.0 / psi_count(self.healpix_order)

    def orientations(self, oversampling: int = 0) -> OrientationGrid:
        """The grid at ``oversampling`` 0 (coarse) or more (children, in parent order)."""
        children = 4**oversampling
        pixels = (self.pixels[:, None] * children + torch.arange(children)).flatten()
        per_parent = 2**oversampling
        parents = torch.arange(psi_count(self.healpix_order), dtype=torch.float64)
        within = (torch.arange(per_parent, dtype=torch.float64) + 0.5) / per_parent - 0.5
        psi = (parents[:, None] + within).flatten() * self.psi_step_deg
        directions = healpix.pixel_angles_deg(self.healpix_order + oversampling)[pixels]
        return OrientationGrid(pixels, directions, psi, self.perturbation * self.psi_step_deg)

    def translations(self, oversampling: int = 0) -> Tensor:
        """Shifts ``[t, 2]`` float64 (x, y) in pixels; children of coarse shift t are rows ``4**o t ...``."""
        coarse = translation_grid(self.offset_range_px, self.offset_step_px)
        per_axis = 2**oversampling
        within = ((torch.arange(per_axis, dtype=torch.float64) + 0.5) / per_axis - 0.5) * self.offset_step_px
        children = torch.stack(torch.meshgrid(within, within, indexing="ij"), dim=-1).reshape(-1, 2)
        fine = (coarse[:, None] + children).reshape(-1, 2)
        return fine + self.perturbation * self.offset_step_px


def psi_count(healpix_order: int) -> int:
    """Number of in-plane angles that matches the spacing of the directions: ``6 * 2**order``."""
    return int(6 * 2**healpix_order)


def translation_grid(range_px: float, step_px: float) -> Tensor:
    """Shifts ``[t, 2]`` float64 (x, y) on a square grid within a circle; x is the outer index.

    Raises ValueError for a step that is not positive or a negative range.
    """
    if step_px <= 0.0 or range_px < 0.0:
        raise ValueError(f"Offset range {range_px} px and step {step_px} px must be >= 0 and > 0.")
    reach = math.ceil(range_px / step_px)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64) * step_px
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    return grid[(grid**2).sum(dim=1) <= range_px**2 + 1e-3]


def asymmetric_unit(healpix_order: int, symmetry: Tensor | None) -> Tensor:
    """Nested indices ``[d]`` of one direction per orbit of the point group ``symmetry`` ``[s, 3, 3]``.

    The unit is the spherical Dirichlet cell of a generic direction: v is kept when no equivalent of v lies
    nearer to it. Directions on the border are kept, so that the unit is covered.
    """
    everything = torch.arange(healpix.pixel_count(healpix_order))
    if symmetry is None or symmetry.shape[0] == 1:
        return everything
    angles = torch.deg2rad(healpix.pixel_angles_deg(healpix_order))
    phi, theta = angles.unbind(1)
    vectors = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=1)
    seed = torch.tensor(_GENERIC_DIRECTION, dtype=torch.float64)
    nearest = (vectors @ (symmetry.double() @ seed).T).amax(dim=1)
    return everything[(vectors @ seed) >= nearest - 1e-9]


def into_asymmetric_unit(matrices: Tensor, symmetry: Tensor) -> Tensor:
    """The equivalent of each orientation ``[n, 3, 3]`` whose direction lies in the asymmetric unit."""
    group = symmetry.to(matrices)
    if group.shape[0] == 1:
        return matrices
    seed = torch.tensor(_GENERIC_DIRECTION, dtype=matrices.dtype)
    nearness = matrices[:, 2] @ (group @ seed).T
    return matrices @ group[nearness.argmax(dim=1)]


def make_sampling(
    healpix_order: int,
    oversampling: int,
    offset_range_px: float,
    offset_step_px: float,
    perturbation: float = 0.0,
    symmetry: Tensor | None = None,
) -> Sampling:
    """Check the ranges and build the grid, restricted to an asymmetric unit when ``symmetry`` is given.

    Raises ValueError when the order, the oversampling or the offsets are out of range.
    """
    if not 0 <= oversampling <= 3:
        raise ValueError(f"Oversampling order {oversampling} is outside 0..3.")
    healpix.pixel_count(healpix_order + oversampling)
    translation_grid(offset_range_px, offset_step_px)
    pixels = asymmetric_unit(healpix_order, symmetry)
    return Sampling(healpix_order, oversampling, offset_range_px, offset_step_px, perturbation, pixels)


def next_perturbation(previous: float, factor: float, uniform: float) -> float:
    """RELION's walk of the perturbation: add ``factor * (0.5 + uniform / 2)``, wrap into [-factor, factor].

    ``uniform`` is a draw from [0, 1); a factor of 0 turns the perturbation off.
    """
    if factor <= 0.0:
        return 0.0
    value = previous + factor * (0.5 + 0.5 * uniform)
    return (value + factor) % (2.0 * factor) - factor
