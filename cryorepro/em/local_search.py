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
_ANCESTOR_ORDERS = 3
_PIXEL_REACH_DEG = 60.0


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
        pixel, psi = rows // self.n_psi, rows % self.n_psi
        directions = healpix.angles_deg_of(self.sampling.healpix_order, pixel)
        return self._perturbed(directions, psi.double() * self.sampling.psi_step_deg)

    def fine_matrices(self, rows: Tensor) -> Tensor:
        """``[m * children, 3, 3]`` float64 of the children of coarse rows ``[m]``, in order."""
        sampling, per_axis = self.sampling, 2**self.sampling.oversampling
        pixel = (rows // self.n_psi)[:, None] * per_axis**2 + torch.arange(per_axis**2)
        within = (torch.arange(per_axis, dtype=torch.float64) + 0.5) / per_axis - 0.5
        psi = ((rows % self.n_psi)[:, None] + within) * sampling.psi_step_deg
        shape = (rows.shape[0], per_axis**2, per_axis)
        directions = healpix.angles_deg_of(sampling.healpix_order + sampling.oversampling, pixel.flatten())
        every = directions.reshape(-1, per_axis**2, 1, 2).expand(*shape, 2).reshape(-1, 2)
        return self._perturbed(every, psi[:, None].expand(shape).reshape(-1))

    def _perturbed(self, directions_deg: Tensor, psi_deg: Tensor) -> Tensor:
        return euler_to_matrix(torch.cat([directions_deg, psi_deg[:, None]], dim=1)) @ self.turn

    def windows(self, centres: Tensor) -> list[Window]:
        """The window around each of ``centres [m, 3, 3]`` float64."""
        unperturbed = centres @ self.turn.T
        order = self.sampling.healpix_order
        up = min(_ANCESTOR_ORDERS, order)
        ancestors = _vectors(healpix.pixel_angles_deg(order - up))
        reach = _CUTOFF_SIGMA * self.sigma_deg + _PIXEL_REACH_DEG * (2.0 ** (up - order) + 2.0**-order)
        near = unperturbed[:, 2] @ ancestors.T >= math.cos(math.radians(min(reach, 180.0)))
        below = torch.arange(4**up)
        found = []
        for centre, some in zip(unperturbed, near, strict=True):
            pixels = (some.nonzero() * 4**up + below).flatten()
            found.append(self._window(centre, pixels))
        return found

    def _window(self, centre: Tensor, pixels: Tensor) -> Window:
        """Keep those of the candidate directions ``pixels`` within the cut-off, with their in-plane angles."""
        angles = torch.deg2rad(healpix.angles_deg_of(self.sampling.healpix_order, pixels))
        along = _unit_vectors(angles)
        sine = torch.linalg.cross(along, centre[2].expand_as(along)).norm(dim=1)
        apart = torch.rad2deg(torch.atan2(sine, along @ centre[2]))
        limit = _CUTOFF_SIGMA * self.sigma_deg
        kept = (apart <= max(limit, float(apart.min()))).nonzero()[:, 0]
        step, reach = self.sampling.psi_step_deg, math.ceil(limit / self.sampling.psi_step_deg)
        own = _transported_psi(centre, along[kept], angles[kept]) / step
        psi = own.round()[:, None] + torch.arange(-reach, reach + 1)
        turned = (psi - own[:, None]) * step
        inside = (turned.abs() <= limit).nonzero(as_tuple=True)
        exponent = apart[kept][inside[0]] ** 2 + turned[inside] ** 2
        rows = pixels[kept][inside[0]] * self.n_psi + torch.remainder(psi[inside].long(), self.n_psi)
        rows, order = rows.sort()
        return Window(rows, torch.log_softmax(-exponent[order] / (2.0 * self.sigma_deg**2), dim=0))


def _transported_psi(centre: Tensor, directions: Tensor, angles: Tensor) -> Tensor:
    """In-plane angle in degrees ``[m]`` at each direction after the smallest rotation that takes ``centre`` there.

    ``directions [m, 3]`` are unit vectors of ``angles [m, 2]`` (rot, tilt) in radians.  A vector v at right
    angles to d goes to v - (v.e) (d + e) / (1 + d.e) when d is taken to e.
    """
    across, toward = centre[0], centre[2]
    share = (directions @ across) / (1.0 + directions @ toward).clamp(min=1e-9)
    moved = across - share[:, None] * (directions + toward)
    rot, tilt = angles.unbind(1)
    x_axis = torch.stack([tilt.cos() * rot.cos(), tilt.cos() * rot.sin(), -tilt.sin()], dim=1)
    y_axis = torch.stack([-rot.sin(), rot.cos(), torch.zeros_like(rot)], dim=1)
    return torch.rad2deg(torch.atan2((moved * y_axis).sum(dim=1), (moved * x_axis).sum(dim=1)))


def _vectors(angles_deg: Tensor) -> Tensor:
    return _unit_vectors(torch.deg2rad(angles_deg))


def _unit_vectors(angles: Tensor) -> Tensor:
    phi, theta = angles.unbind(1)
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=1)
