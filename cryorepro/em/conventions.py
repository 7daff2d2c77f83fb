"""Every sign, axis order, unit and Euler convention of the numerics, stated once.

Arrays
    Volumes are ``[z, y, x]``, images ``[y, x]``, stacks ``[n, y, x]``; x is the fastest axis, as in MRC.
    The origin of a box of ``n`` pixels is pixel ``n // 2`` on every axis (RELION's, and EMAN's, centre).
    Coordinates and shifts are ``(x, y)`` or ``(x, y, z)``, never reversed.

Units
    Real-space lengths are pixels inside the numerics and Angstrom wherever a name ends in ``_angstrom``.
    Angles are degrees at every public boundary. Defocus is in Angstrom, positive for underfocus; spherical
    aberration in mm, voltage in kV.

Fourier transforms
    ``F(k) = n^-d * sum_x f(x) exp(-2 pi i k.x / n)``, x counted from the origin pixel, k an integer vector.
    The division by ``n^d`` makes spectra independent of the box and equal to RELION's.
    With it the transform of a projection is ``n`` times the central slice of the volume's transform.
    Spectra that stand for the noise or the signal (sigma2, tau2) are variances of ONE real component,
    that is the mean of ``|F|^2 / 2`` over a shell; the shell of k is ``round(|k|)``.
    Real functions have ``F(-k) = conj F(k)``: sums run over the half plane kx > 0, or kx = 0 and ky > 0.

Rotations
    Euler angles (rot, tilt, psi) are RELION's intrinsic ZYZ. Their matrix A takes a vector in the frame of
    the reference to the frame of the image, ``v_image = A v_reference``, with
    ``A = Rz(psi) Ry(tilt) Rz(rot)`` where ``Rz(a) = [[c, s, 0], [-s, c, 0], [0, 0, 1]]`` and
    ``Ry(a) = [[c, 0, -s], [0, 1, 0], [s, 0, c]]``.
    The projection runs along z of the image frame: its transform is ``F2(kx, ky) = n F3(A^T (kx, ky, 0))``.
    A point-group operator S leaves the reference as it is, ``V(S x) = V(x)``; A and ``A S`` are one view.

Origins
    ``rlnOriginXAngst``, ``rlnOriginYAngst`` are the shift that, APPLIED TO THE IMAGE, centres the particle:
    ``centred(x) = image(x - origin)``. In Fourier space ``X(k) exp(-2 pi i k.origin / n)``. A particle that
    was simulated with its centre displaced by +d from the origin pixel has origin -d.

Contrast transfer
    ``CTF(k) = sin(pi lambda dz |k|^2 - pi/2 Cs lambda^3 |k|^4 + phase_shift + asin(Q0))``, k in 1/Angstrom:
    positive at the origin, for images in which protein is white (RELION's sign after inversion of contrast).
    ``dz`` at azimuth a is ``(u + v)/2 + (u - v)/2 cos(2 (a - defocus_angle))``, a counted from x towards y.
"""

from __future__ import annotations

PADDING = 2
"""Oversampling of a volume's transform before trilinear slicing.

A projection then errs by 1e-4 of its energy (2e-3 without padding).
"""

ELECTRON_WAVELENGTH_NUMERATOR_ANGSTROM = 12.2643247
ELECTRON_RELATIVISTIC_PER_VOLT = 0.978466e-6


def origin_index(box_px: int) -> int:
    """Index of the origin pixel on an axis of ``box_px`` pixels."""
    return box_px // 2


def electron_wavelength_angstrom(voltage_kv: float) -> float:
    """Relativistic wavelength of an electron in Angstrom; ``voltage_kv`` > 0.

    lambda = h / sqrt(2 m e V (1 + e V / 2 m c^2)), Reimer & Kohl, Transmission Electron Microscopy, eq. 2.5,
    with the constants that RELION uses.
    """
    volts = voltage_kv * 1000.0
    relativistic = volts * (1.0 + volts * ELECTRON_RELATIVISTIC_PER_VOLT)
    return float(ELECTRON_WAVELENGTH_NUMERATOR_ANGSTROM / relativistic**0.5)
