"""In-plane angles and shifts of a 2D classification, coarse and oversampled, and what one iteration assumes.

A row is a class and an in-plane angle. With an even number of angles a row also stands for its mate, the same class
turned by another 180 degrees, whose transform is the complex conjugate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.class2d_turning import Turned, turn
from cryorepro.em.fourier import HalfPlane
from cryorepro.em.preparation import Preparation
from cryorepro.em.sampling import translation_grid


@dataclass(frozen=True)
class PlaneSampling:
    """The grid of in-plane angles and shifts, and the children of each sample.

    ``perturbation`` is the random shift of angles and shifts in units of their step, in [-0.5, 0.5].
    """

    angles: int
    oversampling: int
    offset_range_px: float
    offset_step_px: float
    perturbation: float = 0.0

    @property
    def step_deg(self) -> float:
        """Angular step of the coarse grid."""
        return 360.0 / self.angles

    @property
    def mates(self) -> int:
        """Samples a row stands for: 2 when the angles come in pairs 180 degrees apart, else 1."""
        return 1 if self.angles % 2 else 2

    @property
    def rows_per_class(self) -> int:
        """Coarse rows of one class."""
        return self.angles // self.mates

    @property
    def children(self) -> int:
        """Fine angles per coarse one; ``children**2`` fine shifts per coarse shift."""
        return int(2**self.oversampling)

    def psi_deg(self) -> Tensor:
        """``[rows_per_class]`` float64 coarse angles."""
        return (torch.arange(self.rows_per_class, dtype=torch.float64) + self.perturbation) * self.step_deg

    def fine_psi_deg(self) -> Tensor:
        """``[rows_per_class * children]`` float64 fine angles; those of coarse angle p are ``children p ...``."""
        return (self.psi_deg()[:, None] + self._within() * self.step_deg).flatten()

    def shifts(self) -> Tensor:
        """``[t, 2]`` float64 coarse shifts (x, y) in pixels."""
        return translation_grid(self.offset_range_px, self.offset_step_px) + self.perturbation * self.offset_step_px

    def fine_shifts(self) -> Tensor:
        """``[t * children^2, 2]`` float64 fine shifts, those of a coarse shift together."""
        within = self._within() * self.offset_step_px
        square = torch.stack(torch.meshgrid(within, within, indexing="ij"), dim=-1).reshape(-1, 2)
        return (self.shifts()[:, None] + square).reshape(-1, 2)

    def _within(self) -> Tensor:
        return (torch.arange(self.children, dtype=torch.float64) + 0.5) / self.children - 0.5


def angle_count(psi_step_degrees: float) -> int:
    """Number of in-plane angles: as many whole steps as cover the circle, the step made to fit (RELION's rule)."""
    return math.ceil(360.0 / psi_step_degrees - 1e-9)


@dataclass(frozen=True)
class PlaneModel:
    """The model of one iteration.

    Attributes:
        grids: ``[k, rows, columns]`` complex64 transforms of the class averages (`images_to_grids`).
        sampling: angles and shifts.
        preparation: how images are masked, normalised and cut to the half plane.
        image_radius, padding: Fourier radius of the fine pass, and the grids' padding.
        coarse_shell: Fourier radius of the coarse pass.
        log_prior: ``[k]`` log of the prior probability of each class (-inf: never).
        offset_sigma_px, class_offset_px: the offsets' Gaussian prior, and its centre ``[k, 2]`` per class.
        scale: ``[scale groups]`` intensity of each group's signal.
        adaptive_fraction: share of the posterior that the significant samples must hold.
        intact_first_peak: take the CTF as 1 up to its first peak.
    """

    grids: Tensor
    sampling: PlaneSampling
    preparation: Preparation
    image_radius: int
    padding: int
    coarse_shell: int
    log_prior: Tensor
    offset_sigma_px: float
    class_offset_px: Tensor
    scale: Tensor
    adaptive_fraction: float = 0.999
    intact_first_peak: bool = False

    @property
    def plane(self) -> HalfPlane:
        """The half plane of the fine pass."""
        return self.preparation.plane

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.grids.shape[0])

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Real and imaginary parts ``[grid points, k]`` float32 of the grids, one column per class."""
        flat = self.grids.flatten(1).T
        return np.ascontiguousarray(flat.real.numpy()), np.ascontiguousarray(flat.imag.numpy())

    @cached_property
    def fine_turns(self) -> list[Turned]:
        """The fine angles' cells on the whole plane."""
        return [self._turn(self.plane, psi) for psi in self.sampling.fine_psi_deg().tolist()]

    def coarse_turns(self, plane: HalfPlane) -> list[Turned]:
        """The coarse angles' cells on the coarse plane."""
        return [self._turn(plane, psi) for psi in self.sampling.psi_deg().tolist()]

    def _turn(self, plane: HalfPlane, psi_deg: float) -> Turned:
        return turn(plane, psi_deg, self.image_radius, self.padding)
