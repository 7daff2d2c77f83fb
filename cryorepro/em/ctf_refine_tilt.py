"""Beam tilt of an optics group from the phases that all its particles have in common.

With X = s c P exp(-i phi) the overlap s c X conj P / sigma2, summed over particles, has the phase -phi at every
pixel, and the log-likelihood is the real part of its sum with exp(i phi). phi is the coma of the beam tilt plus a
shift that the poses have taken up to make good for it (Zivanov et al., eLife 7 (2018) e42166, fit tilt and shift
together, too). The tilt is scanned and then refined by Newton's method; the curvature gives its standard error.

Trefoil, if asked for, is fitted with them.

A defocus fitted while a tilt is not corrected for prefers noise without that tilt, which pulls the tilt found
towards the one assumed (by 5 % at an SNR of 0.02): fit defocus again at the tilt found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.aberrations import coma_phase_per_mrad, trefoil_phase
from cryorepro.em.ctf import CtfParameters
from cryorepro.em.ctf_refine_data import Observed, Observer, row_index
from cryorepro.em.ctf_refine_defocus import scan_values
from cryorepro.em.fourier import HalfPlane

SCAN_LIMIT_MRAD = 3.0
_NEWTON_STEPS = 30


@dataclass(frozen=True)
class TiltFit:
    """Tilt found beyond the one already corrected, in mrad, its standard errors, and trefoil.

    ``trefoil`` is the amplitude in phi of |k|^3 cos 3a and |k|^3 sin 3a, in rad Angstrom^3; 0 if not fitted.
    """

    x_mrad: float
    y_mrad: float
    error_x_mrad: float
    error_y_mrad: float
    trefoil: tuple[float, float] = (0.0, 0.0)

    def beyond(self, earlier: TiltFit | None) -> TiltFit:
        """This tilt on top of an earlier one."""
        if earlier is None:
            return self
        trefoil = self.trefoil[0] + earlier.trefoil[0], self.trefoil[1] + earlier.trefoil[1]
        x, y = self.x_mrad + earlier.x_mrad, self.y_mrad + earlier.y_mrad
        return replace(self, x_mrad=x, y_mrad=y, trefoil=trefoil)


def common_overlap(seen: Observed, optics: CtfParameters, observer: Observer, cross_factor: Tensor) -> Tensor:
    """``[n]`` complex128: sum over particles of s c X conj P / sigma2; ``cross_factor [n]`` is s / sigma2."""
    total = torch.zeros(len(observer.plane), dtype=torch.complex128)
    for rows, cross, _ in seen.blocks():
        total += (cross * torch.sin(observer.phase(optics.select(row_index(rows))))).sum(dim=0)
    return total * cross_factor


def tilt_basis(
    plane: HalfPlane, pixel_size_angstrom: float, voltage_kv: float, cs_mm: float, trefoil: bool = False
) -> Tensor:
    """``[4, n]`` float64: coma per mrad along x and y, and the phase of a shift by a pixel along x and y.

    With ``trefoil`` ``[6, n]``: its two parts follow.
    """
    extent = plane.box_px * pixel_size_angstrom
    kx, ky = (k.double().numpy() / extent for k in (plane.kx, plane.ky))
    coma = coma_phase_per_mrad(kx, ky, voltage_kv, cs_mm)
    turn = 2.0 * np.pi * pixel_size_angstrom
    parts = [*coma, turn * kx, turn * ky, *(trefoil_phase(kx, ky) if trefoil else ())]
    return torch.stack([torch.from_numpy(part) for part in parts])


def fit_tilt(overlap: Tensor, basis: Tensor) -> tuple[TiltFit, Tensor]:
    """The tilt that explains the phases of ``overlap [n]`` best, and phi ``[n]`` with its shift.

    ``basis`` is `tilt_basis`'s.
    """
    change = _freeing(basis, overlap.abs())
    freed = change @ basis
    values = scan_values(freed[0], SCAN_LIMIT_MRAD)
    waves = [torch.polar(torch.ones(len(values), len(overlap), dtype=torch.float64), torch.outer(values, phase))
             for phase in freed[:2]]  # fmt: skip
    scores = ((waves[0] * overlap) @ waves[1].T).real
    first, second = divmod(int(scores.argmax()), len(values))
    start = torch.zeros(len(basis), dtype=torch.float64)
    start[0], start[1] = values[first], values[second]
    found, curvature = _climb(overlap, freed, start)
    error = torch.linalg.pinv(curvature).diagonal().clamp(min=0.0).sqrt()
    x, y, _, _, *trefoil = (found @ change).tolist()
    fit = TiltFit(x, y, float(error[0]), float(error[1]), (trefoil[0], trefoil[1]) if trefoil else (0.0, 0.0))
    return fit, found @ freed


def _freeing(basis: Tensor, weight: Tensor) -> Tensor:
    """Matrix ``[m, m]`` to a basis whose coma is free of what a shift (or trefoil) explains: a scan needs neither."""
    other = basis[2:]
    normal = (other * weight) @ other.T
    part = torch.linalg.solve(normal, (other * weight) @ basis[:2].T)
    change = torch.eye(len(basis), dtype=torch.float64)
    change[:2, 2:] = -part.T
    return change


def _climb(overlap: Tensor, basis: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's method with damping; the parameters and the information matrix there."""
    found, damping = start, 1e-3
    score = _score(overlap, basis, found)
    for _ in range(_NEWTON_STEPS):
        slope, curvature = _derivatives(overlap, basis, found)
        diagonal = curvature.diagonal().abs().clamp(min=1e-300)
        trial = found + torch.linalg.solve(curvature + torch.diag(damping * diagonal), slope)
        reached = _score(overlap, basis, trial)
        if reached >= score:
            found, score, damping = trial, reached, damping * 0.1
        else:
            damping = max(damping, 1e-6) * 10.0
    return found, _derivatives(overlap, basis, found)[1]


def _derivatives(overlap: Tensor, basis: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    turned = overlap * torch.polar(torch.ones_like(basis[0]), at @ basis)
    return -basis @ turned.imag, (basis * turned.real) @ basis.T


def _score(overlap: Tensor, basis: Tensor, at: Tensor) -> float:
    return float((overlap * torch.polar(torch.ones_like(basis[0]), at @ basis)).real.sum())
