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

from cryorepro.em.aberrations import coma_phase_per_mrad, trefoil_phase
from cryorepro.em.ctf_refine_defocus import scan_values, unit
from cryorepro.em.ctf_refine_plane import Floats, Plane, Sums

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


def tilt_basis(plane: Plane, voltage_kv: float, cs_mm: float, trefoil: bool = False) -> Floats:
    """``[4, n]``: coma per mrad along x and y, and the phase of a shift by a pixel along x and y.

    With ``trefoil`` ``[6, n]``: its two parts follow.
    """
    extent = plane.box_px * plane.pixel_size_angstrom
    kx, ky = plane.kx / extent, plane.ky / extent
    coma = coma_phase_per_mrad(kx, ky, voltage_kv, cs_mm)
    turn = 2.0 * np.pi * plane.pixel_size_angstrom
    return np.stack([*coma, turn * kx, turn * ky, *(trefoil_phase(kx, ky) if trefoil else ())])


def fit_tilt(overlap: Sums, basis: Floats) -> tuple[TiltFit, Floats]:
    """The tilt that explains the phases of ``overlap [n]`` best, and phi ``[n]`` with its shift.

    ``overlap`` is the sum over particles of s c X conj P / sigma2, ``basis`` is `tilt_basis`'s.
    """
    change = _freeing(basis, np.abs(overlap))
    freed = change @ basis
    values = scan_values(freed[0], SCAN_LIMIT_MRAD)
    waves = [unit(np.outer(values, phase)).astype(np.complex64) for phase in freed[:2]]
    scores = ((waves[0] * overlap.astype(np.complex64)) @ waves[1].T).real
    first, second = divmod(int(scores.argmax()), len(values))
    start = np.zeros(len(basis))
    start[0], start[1] = values[first], values[second]
    found, curvature = _climb(overlap, freed, start)
    error = np.sqrt(np.maximum(np.linalg.pinv(curvature).diagonal(), 0.0))
    x, y, _, _, *trefoil = (found @ change).tolist()
    fit = TiltFit(x, y, float(error[0]), float(error[1]), (trefoil[0], trefoil[1]) if trefoil else (0.0, 0.0))
    return fit, found @ freed


def _freeing(basis: Floats, weight: Floats) -> Floats:
    """Matrix ``[m, m]`` to a basis whose coma is free of what a shift (or trefoil) explains: a scan needs neither."""
    other = basis[2:]
    normal = (other * weight) @ other.T
    part = np.linalg.solve(normal, (other * weight) @ basis[:2].T)
    change = np.eye(len(basis))
    change[:2, 2:] = -part.T
    return change


def _climb(overlap: Sums, basis: Floats, start: Floats) -> tuple[Floats, Floats]:
    """Newton's method with damping; the parameters and the information matrix there."""
    found, damping, turned = start, 1e-3, overlap * unit(start @ basis)
    for _ in range(_NEWTON_STEPS):
        slope, curvature = -basis @ turned.imag, (basis * turned.real) @ basis.T
        diagonal = np.maximum(np.abs(curvature.diagonal()), 1e-300)
        trial = found + np.linalg.solve(curvature + np.diag(damping * diagonal), slope)
        there = overlap * unit(trial @ basis)
        if there.real.sum() >= turned.real.sum():
            found, turned, damping = trial, there, damping * 0.1
        else:
            damping = max(damping, 1e-6) * 10.0
    return found, (basis * turned.real) @ basis.T
