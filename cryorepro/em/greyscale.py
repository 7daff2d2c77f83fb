"""The grey scale of particle images relative to a map, measured without any pose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from cryorepro.em.ctf import CtfParameters, ctf_values
from cryorepro.em.errors import InputError
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.lowpass import Map

_BINS_PER_PIXEL = 20


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
    plane = half_plane(box, last_shell)
    length = torch.sqrt((plane.kx**2 + plane.ky**2).double())
    transfer = ctf_values(ctf, plane.kx, plane.ky, box, pixel_size_angstrom).double()
    expected = transfer * torch.from_numpy(_spherical_mean(volume, length.numpy()) / box**2)
    measured = image_coefficients(torch.from_numpy(np.asarray(images)), plane).real.double()
    factor = float((expected * measured).sum() / (expected * expected).sum())
    if not factor > 0.0:
        raise InputError("the images do not correlate with the reference: is their contrast inverted?")
    return factor


def _spherical_mean(volume: Map, length: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of ``sum_x V(x) exp(-2 pi i k.x / n)`` over all directions of k, for lengths ``[m]`` of k.

    The mean of the wave is sin(u) / u with u = 2 pi |k| |x| / n (Debye 1915).
    """
    box = volume.shape[0]
    axis = np.arange(box, dtype=np.float64) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    bins = np.rint(radius * _BINS_PER_PIXEL).astype(np.int64).ravel()
    profile = np.bincount(bins, weights=np.asarray(volume, dtype=np.float64).ravel())
    at = np.arange(len(profile)) / _BINS_PER_PIXEL
    distinct, inverse = np.unique(length, return_inverse=True)
    waves = np.sinc(2.0 * distinct[:, None] * at[None] / box)
    return np.asarray((waves @ profile)[inverse.reshape(-1)])
