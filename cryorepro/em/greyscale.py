"""The grey scale of particle images relative to a map, measured without any pose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from cryorepro.em.ctf import CtfParameters, ctf_values
from cryorepro.em.errors import InputError
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.fsc import shell_sums
from cryorepro.em.lowpass import Map


def rotational_grey_scale(
    images: npt.NDArray[np.float32],
    ctf: CtfParameters,
    volume: Map,
    pixel_size_angstrom: float,
    last_shell: int = 3,
) -> float:
    """Least-squares factor on ``volume`` that makes its projections match the images at low resolution.

    Only what every orientation has in common is compared: the mean of the map's transform over each of the
    first shells, against the images' coefficients there.  Good for a roughly round particle centred to a few
    pixels.

    Args:
        images: ``[b, n, n]``, protein positive.
        ctf: their CTF parameters.
        volume: map ``[n, n, n]``.
        pixel_size_angstrom: pixel size of both.
        last_shell: finest shell used.

    Raises:
        InputError: the images do not correlate with the map; their contrast may be inverted.
    """
    box = volume.shape[0]
    centred = np.fft.rfftn(np.fft.ifftshift(np.asarray(volume, dtype=np.float64))) / box**3
    spherical = shell_sums(centred.real, box) / shell_sums(np.ones(centred.shape), box)
    plane = half_plane(box, last_shell)
    transfer = ctf_values(ctf, plane.kx, plane.ky, box, pixel_size_angstrom).double()
    expected = transfer * torch.from_numpy(box * spherical)[plane.shell]
    measured = image_coefficients(torch.from_numpy(np.asarray(images)), plane).real.double()
    factor = float((expected * measured).sum() / (expected * expected).sum())
    if not factor > 0.0:
        raise InputError("the images do not correlate with the reference: is their contrast inverted?")
    return factor
