"""Reconstruction from poses that are already known: every image is inserted once, where its pose says."""

from __future__ import annotations

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.ctf import ctf_values
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.reconstruction import SliceAccumulator, hermitian, symmetrise
from cryorepro.em.rotations import euler_to_matrix

_CHUNK = 128


def sums_from_poses(
    images: ImageSet,
    poses: Poses,
    index: Tensor,
    max_radius: int,
    symmetry: Tensor,
    padding: int = PADDING,
    correct_ctf: bool = True,
) -> Tensor:
    """Hermitian, symmetrised sums of CTF X and CTF^2 of the particles at ``index``, all weighted alike.

    Args:
        images: the particles.
        poses: of the whole set; angles and origins are used.
        index: ``[m]`` which particles to insert.
        max_radius: last Fourier shell.
        symmetry: point group ``[s, 3, 3]``.
        padding: of the grid.
        correct_ctf: False takes every CTF as one.

    Returns:
        float64 ``[3, 2R + 1, 2R + 1, R + 1]``, as :func:`cryorepro.em.reconstruction.reconstruct` takes it.
    """
    plane = half_plane(images.box_px, max_radius)
    sums = SliceAccumulator(max_radius, padding, torch.float64)
    for chunk in torch.split(index, _CHUNK):
        spectra = image_coefficients(images.read(chunk), plane) * plane.phase_ramps(poses.origin_px[chunk])
        ctf = torch.ones(spectra.shape)
        if correct_ctf:
            optics = images.ctf.select(chunk)
            ctf = ctf_values(optics, plane.kx, plane.ky, images.box_px, images.pixel_size_angstrom)
        matrices = euler_to_matrix(poses.euler_deg[chunk])
        sums.insert((spectra * ctf).to(torch.complex128), ctf.double().square(), matrices, plane)
    data = hermitian(sums.data.reshape(3, *sums.shape))
    return symmetrise(data, symmetry) if symmetry.shape[0] > 1 else data
