"""In-plane angles and shifts of a 2D classification, coarse and oversampled, and what one iteration assumes.

A row is a class and an in-plane angle. With an even number of angles a row also stands for its mate, the same class
turned by another 180 degrees, whose transform is the complex conjugate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cryorepro.em.class2d_turning import Turned, turn
from cryorepro.em.devices.plan import Plan
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
        score_shell: Fourier radius beyond which nothing is compared, only inserted; None: no such limit.
        log_prior: ``[k]`` log of the prior probability of each class (-inf: never).
        offset_sigma_px, class_offset_px: the offsets' Gaussian prior, and its centre ``[k, 2]`` per class.
        scale: ``[scale groups]`` intensity of each group's signal.
        adaptive_fraction: share of the posterior that the significant samples must hold.
        intact_first_peak: take the CTF as 1 up to its first peak.
        reduced_precision: on a GPU both passes may round what they compare to TF32.
        plan: how much is held at once.
        quanta: of the grids' numerators and weights where sums are exact (the expectation step sets them); else None.

    Grids and preparation are on the device the step runs on; priors, scales and poses stay with the CPU.
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
    score_shell: int | None = None
    reduced_precision: bool = True
    plan: Plan = Plan()
    quanta: tuple[float, float] | None = None
    # what the fine pass may ask of a model, and what is always so in two dimensions
    score_with_ctf: bool = True
    cross_correlation: bool = False

    @property
    def device(self) -> torch.device:
        """Where the step runs."""
        return self.preparation.mask.device

    @property
    def plane(self) -> HalfPlane:
        """The half plane of the fine pass."""
        return self.preparation.plane

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.grids.shape[0])

    @property
    def coarse_plane(self) -> HalfPlane:
        """The half plane of the coarse pass, a prefix of the other."""
        return self.plane.prefix(self.plane.coarse_length(self.coarse_shell))

    @cached_property
    def compared(self) -> Tensor:
        """``[n]`` float32, 1 where a pixel is compared: not the first, the origin, nor beyond ``score_shell``."""
        every = torch.arange(len(self.plane), device=self.device)
        last = len(self.plane) if self.score_shell is None else self.plane.coarse_length(self.score_shell)
        return ((every > 0) & (every < last)).float()

    @cached_property
    def columns(self) -> Tensor:
        """The grids as ``[grid points, 2, k]`` float32, real and imaginary parts, one column per class."""
        return torch.view_as_real(self.grids.flatten(1)).permute(1, 2, 0).contiguous()

    @cached_property
    def fine_turns(self) -> list[Turned]:
        """The fine angles' cells on the whole plane."""
        return [self._turn(self.plane, psi) for psi in self.sampling.fine_psi_deg().tolist()]

    @cached_property
    def coarse_turns(self) -> list[Turned]:
        """The coarse angles' cells on the coarse plane."""
        return [self._turn(self.coarse_plane, psi) for psi in self.sampling.psi_deg().tolist()]

    def log_class(self) -> Tensor:
        """``[k]`` float32 log prior of each class, with the part of its offsets' prior that only its centre says."""
        away = (self.class_offset_px**2).sum(dim=1) / (2.0 * self.offset_sigma_px**2)
        return (self.log_prior - away).float().to(self.device)

    def offset_factors(self, offset_px: Tensor) -> Tensor:
        """``[..., 3]`` float32 of whole offsets ``[..., 2]`` (x, y).

        Their product with `class_factors` is the offsets' log prior, without the part in `log_class`.
        """
        squared = -0.5 * (offset_px**2).sum(dim=-1, keepdim=True)
        return (torch.cat([squared, offset_px], dim=-1) / self.offset_sigma_px**2).float()

    @cached_property
    def class_factors(self) -> Tensor:
        """``[k, 3]`` float32: 1 and the centre of the class's offsets."""
        ones = torch.ones(self.classes, 1, dtype=self.class_offset_px.dtype)
        return torch.cat([ones, self.class_offset_px], dim=1).float().to(self.device)

    def add_offset_prior_(self, scores: Tensor, offset_px: Tensor, classes: Tensor) -> None:
        """Add the log prior of whole offsets ``[g, s, 2]`` to ``scores [g, s, q]`` of the ``classes [g, q]``."""
        scores.baddbmm_(self.offset_factors(offset_px), self.class_factors[classes].transpose(1, 2))

    def _turn(self, plane: HalfPlane, psi_deg: float) -> Turned:
        return turn(plane, psi_deg, self.image_radius, self.padding)
