"""Which orientations a particle is searched over when its last one is believed: RELION's local searches.

From ``auto_local_healpix_order`` on every particle has a Gaussian prior around its own orientation, of twice the
angular step after oversampling, cut off at three deviations (ml_optimiser.cpp updateAngularSampling,
healpix_sampling.cpp selectOrientationsWithNonZeroPriorProbability; Scheres, J. Struct. Biol. 180 (2012) 519,
section 2.6): one factor for the angle between view directions, one for the turn in the plane.  The turn is
counted from the particle's own after the smallest rotation that takes its direction to the other one.  RELION
compares the numbers psi, which shears the window away from the equator and breaks it up at the poles.
The window may reach beyond the asymmetric unit, so that no symmetry operator is needed within it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from cryorepro.em import healpix
from cryorepro.em.rotations import euler_to_matrix
from cryorepro.em.sampling import Sampling, psi_count

STEPS_PER_SIGMA = 2.0
"""Deviation of both priors, in angular steps after oversampling."""
_CUTOFF_SIGMA = 3.0
# Directions are looked up through their ancestors so many orders up; no pixel reaches farther from its centre
# than this many degrees over 2**order.
_ANCESTOR_ORDERS = 2
_PIXEL_REACH_DEG = 60.0
# Directions of orders up to this one are tabulated once (57 MB at order 8); of finer ones those needed are made.
_FINEST_TABLE = 8


@dataclass(frozen=True)
class Window:
    """Coarse orientations around one particle's own.

    Attributes:
        rows: ``[w]`` int64, ascending: ``pixel * n_psi + psi``, over the whole sphere.
        log_prior: ``[w]`` float64, of probabilities that sum to 1.
    """

    rows: Tensor
    log_prior: Tensor

    @property
    def nearest(self) -> int:
        """The most probable row."""
        return int(self.rows[self.log_prior.argmax()])


@dataclass(frozen=True)
class LocalGrid:
    """The grid of orientations of the whole sphere, never held as a whole.

    ``sigma_deg`` is the deviation of both priors.
    """

    sampling: Sampling

    @property
    def sigma_deg(self) -> float:
        """Twice the angular step after oversampling."""
        return STEPS_PER_SIGMA * self.sampling.psi_step_deg / 2.0**self.sampling.oversampling

    @property
    def n_psi(self) -> int:
        """In-plane angles of the coarse grid."""
        return psi_count(self.sampling.healpix_order)

    @property
    def children(self) -> int:
        """Fine orientations of a coarse one."""
        return int(8**self.sampling.oversampling)

    @property
    def turn(self) -> Tensor:
        """``[3, 3]`` float64 the perturbation: every orientation A of the grid stands for A times this."""
        angle = self.sampling.perturbation * self.sampling.psi_step_deg
        return euler_to_matrix(torch.full((3,), angle, dtype=torch.float64))

    def matrices(self, rows: Tensor) -> Tensor:
        """``[m, 3, 3]`` float64 of coarse rows ``[m]``."""
        psi = (rows % self.n_psi).double() * self.sampling.psi_step_deg
        return _turned(_frames(self.sampling.healpix_order, rows // self.n_psi), psi) @ self.turn

    def fine_matrices(self, rows: Tensor) -> Tensor:
        """``[m * children, 3, 3]`` float64 of the children of coarse rows ``[m]``, in order."""
        sampling, per_axis = self.sampling, 2**self.sampling.oversampling
        pixel = (rows // self.n_psi)[:, None] * per_axis**2 + torch.arange(per_axis**2)
        within = (torch.arange(per_axis, dtype=torch.float64) + 0.5) / per_axis - 0.5
        psi = ((rows % self.n_psi)[:, None] + within) * sampling.psi_step_deg
        shape = (rows.shape[0], per_axis**2, per_axis)
        frames = _frames(sampling.healpix_order + sampling.oversampling, pixel.flatten())
        every = frames.reshape(-1, per_axis**2, 1, 3, 3).expand(*shape, 3, 3).reshape(-1, 3, 3)
        return _turned(every, psi[:, None].expand(shape).reshape(-1)) @ self.turn

    def windows(self, centres: Tensor) -> list[Window]:
        """The window around each of ``centres [m, 3, 3]`` float64."""
        centres = centres @ self.turn.T
        owner, pixels = self._candidates(centres)
        frames = _frames(self.sampling.healpix_order, pixels)
        apart = _angle_deg(frames[:, 2], centres[owner, 2])
        nearest = torch.full((centres.shape[0],), torch.inf, dtype=torch.float64)
        nearest.scatter_reduce_(0, owner, apart, "amin")
        limit, step = _CUTOFF_SIGMA * self.sigma_deg, self.sampling.psi_step_deg
        kept = (apart <= nearest[owner].clamp(min=limit)).nonzero()[:, 0]
        owner, pixels, apart = owner[kept], pixels[kept], apart[kept]
        own = _transported_psi(centres[owner], frames[kept]) / step
        reach = math.ceil(limit / step)
        psi = own.round()[:, None] + torch.arange(-reach, reach + 1)
        turned = (psi - own[:, None]) * step
        inside = (turned.abs() <= limit).nonzero(as_tuple=True)
        rows = pixels[inside[0]] * self.n_psi + torch.remainder(psi[inside].long(), self.n_psi)
        exponent = (apart[inside[0]] ** 2 + turned[inside] ** 2) / (2.0 * self.sigma_deg**2)
        return _windows(owner[inside[0]], rows, exponent, centres.shape[0])

    def _candidates(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Directions that may lie in a window: which of ``centres`` each is for, and its pixel, ``[k]`` both."""
        order = self.sampling.healpix_order
        up = min(_ANCESTOR_ORDERS, order)
        ancestors = _frames(order - up, torch.arange(healpix.pixel_count(order - up)))[:, 2]
        reach = _CUTOFF_SIGMA * self.sigma_deg + _PIXEL_REACH_DEG * (2.0 ** (up - order) + 2.0**-order)
        near = centres[:, 2] @ ancestors.T >= math.cos(math.radians(min(reach, 180.0)))
        owner, ancestor = near.nonzero(as_tuple=True)
        pixels = (ancestor[:, None] * 4**up + torch.arange(4**up)).flatten()
        return owner.repeat_interleave(4**up), pixels


def _windows(owner: Tensor, rows: Tensor, exponent: Tensor, count: int) -> list[Window]:
    """Windows of ``count`` particles from their rows in any order, ``owner [k]`` being whose each is."""
    order = torch.argsort(owner * (int(rows.max()) + 1) + rows)
    owner, rows, exponent = owner[order], rows[order], exponent[order]
    total = torch.zeros(count, dtype=torch.float64).index_add_(0, owner, torch.exp(-exponent))
    log_prior = -exponent - total.log()[owner]
    sizes = torch.bincount(owner, minlength=count).tolist()
    return [Window(*parts) for parts in zip(torch.split(rows, sizes), torch.split(log_prior, sizes), strict=True)]


def _transported_psi(centres: Tensor, frames: Tensor) -> Tensor:
    """In-plane angle in degrees ``[k]`` at each direction after the smallest rotation that takes the centre there.

    ``centres [k, 3, 3]``, and ``frames [k, 3, 3]`` the orientations of the directions at psi = 0.  A vector v at
    right angles to d goes to v - (v.e) (d + e) / (1 + d.e) when d is taken to e.
    """
    across, toward, directions = centres[:, 0], centres[:, 2], frames[:, 2]
    share = (directions * across).sum(dim=1) / (1.0 + (directions * toward).sum(dim=1)).clamp(min=1e-9)
    moved = across - share[:, None] * (directions + toward)
    x, y = (frames[:, :2] * moved[:, None]).sum(dim=2).unbind(1)
    return torch.rad2deg(torch.atan2(y, x))


def _turned(frames: Tensor, psi_deg: Tensor) -> Tensor:
    """Orientations ``[m, 3, 3]`` of ``frames [m, 3, 3]`` (psi = 0) turned in the plane by ``psi_deg [m]``."""
    angle = torch.deg2rad(psi_deg)[:, None]
    cosine, sine = angle.cos(), angle.sin()
    x, y, direction = frames.unbind(1)
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x, direction], dim=1)


def _angle_deg(first: Tensor, second: Tensor) -> Tensor:
    """Angle between unit vectors ``[k, 3]``, by their distance: accurate where it is small."""
    return torch.rad2deg(2.0 * torch.asin(((first - second).norm(dim=1) / 2.0).clamp(max=1.0)))


def _frames(order: int, pixels: Tensor) -> Tensor:
    """Orientations ``[m, 3, 3]`` float64 of directions at psi = 0."""
    return _frame_table(order)[pixels] if order <= _FINEST_TABLE else _made_frames(order, pixels)


@lru_cache(maxsize=6)
def _frame_table(order: int) -> Tensor:
    return _made_frames(order, torch.arange(healpix.pixel_count(order)))


def _made_frames(order: int, pixels: Tensor) -> Tensor:
    angles = healpix.angles_deg_of(order, pixels)
    return euler_to_matrix(torch.cat([angles, torch.zeros_like(angles[:, :1])], dim=1))
