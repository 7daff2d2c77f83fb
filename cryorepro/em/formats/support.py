"""What a particle table may say that the project's own engines do not model: refused by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.optics import IDENTITY, OpticsGroup, odd_zernike
from cryorepro.em.formats.particles import Particles

_HELICAL = ("rlnHelicalTubeID", "rlnHelicalTrackLength", "rlnHelicalTrackLengthAngst")
_ZERNIKE = ("rlnOddZernike", "rlnEvenZernike")
MODELLED_ODD_ZERNIKE = 6
"""Coefficients of odd Zernike polynomials up to the third order."""


def check_supported(particles: Particles, *, beam_tilt: bool = False) -> None:
    """Refuse what would silently be ignored: helical segments, aberrations, CTF-premultiplied or 3D images.

    Only non-trivial values are refused: an identity magnification matrix or a zero beam tilt passes.

    Args:
        particles: The table.
        beam_tilt: Whether the caller does model beam tilt, and odd aberrations up to the third order.

    Raises:
        InputError: The sentence names the file and the first label that is not supported.
    """
    for label in _HELICAL:
        values = particles.columns.get(label)
        if values is not None and values.dtype != object and np.any(values != 0):
            raise InputError(f"{particles.source}: helical segments ({label}) are not supported.")
    for group in particles.optics:
        for problem in _problems(group, beam_tilt):
            raise InputError(f"{particles.source}: optics group {group.group} has {problem}, which is not supported.")


def _problems(group: OpticsGroup, beam_tilt: bool) -> Iterator[str]:
    if not np.allclose(group.magnification_matrix, IDENTITY, rtol=0, atol=1e-6):
        yield "anisotropic magnification (rlnMagMat00 to rlnMagMat11)"
    if not beam_tilt and (abs(group.beam_tilt_x_mrad) > 1e-6 or abs(group.beam_tilt_y_mrad) > 1e-6):
        yield "beam tilt (rlnBeamTiltX, rlnBeamTiltY)"
    for label in _ZERNIKE:
        if label == "rlnOddZernike" and beam_tilt and len(odd_zernike(group)) <= MODELLED_ODD_ZERNIKE:
            continue
        if _any_nonzero(group.extra.get(label, "")):
            yield f"higher-order aberrations ({label})"
    if group.extra.get("rlnCtfDataAreCtfPremultiplied", "0") not in ("0", "False"):
        yield "CTF-premultiplied images (rlnCtfDataAreCtfPremultiplied)"
    if group.extra.get("rlnImageDimensionality", "2") != "2":
        yield "subtomograms (rlnImageDimensionality)"


def _any_nonzero(listed: str) -> bool:
    values = listed.strip("[]").split(",") if listed.strip("[]") else []
    try:
        return any(float(value) != 0 for value in values)
    except ValueError:
        return True
