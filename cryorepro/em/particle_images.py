"""A particle STAR file as the images of an expectation step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.aberrations import without_beam_tilt
from cryorepro.em.checked_stack import matching_map, open_checked_stack
from cryorepro.em.ctf import CtfParameters
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import read_star
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.particle_ctf import ctf_parameters

# RELION 3.1 estimates a noise spectrum per micrograph. With fewer particles than this in the mean micrograph
# such spectra are mostly sampling error, and one per optics group is estimated, as RELION 4 does.
_PARTICLES_PER_SPECTRUM = 20


@dataclass(frozen=True)
class ParticleImages:
    """Particles, their images, and the groups they fall in.

    Attributes:
        particles: the table with rlnGroupNumber (from 1).
        images: what the expectation step takes.
        group_names: of every micrograph (or rlnGroupName), in order of group number.
        noise_of_group: the noise spectrum of each group.
    """

    particles: Particles
    images: ImageSet
    group_names: Sequence[str]
    noise_of_group: Sequence[int]

    def start_poses(self) -> Poses:
        """Origins and angles of the table, zero where it has none."""
        pixel = self.images.pixel_size_angstrom
        origin = torch.from_numpy(self.particles.origins_angstrom / pixel)
        return Poses.start(len(self.images), origin, torch.from_numpy(self.particles.angles_degrees))


def open_particle_images(star: Path, *, correct_ctf: bool = True) -> ParticleImages:
    """Open a particle STAR file and its stacks; pixels are read when they are needed, without their beam tilt.

    Raises:
        InputError: the table or a stack is missing, malformed, or of an odd or too small box, or the table asks
            for what the engines do not model (helices, magnification matrices, higher aberrations).
    """
    particles, stack = open_checked_stack(star, require_ctf=correct_ctf)
    names, group = _groups(particles)
    particles = particles.with_columns(rlnGroupNumber=group + 1)
    per_micrograph = len(particles) >= _PARTICLES_PER_SPECTRUM * len(names)
    noise = group if per_micrograph else particles.optics_index
    first_member = np.unique(group, return_index=True)[1]
    images = ImageSet(
        source=without_beam_tilt(stack, particles, stack.box_px),
        box_px=stack.box_px,
        pixel_size_angstrom=particles.pixel_size_angstrom,
        ctf=ctf_parameters(particles) if correct_ctf else _no_ctf(len(particles)),
        noise_group=torch.from_numpy(noise.copy()),
        scale_group=torch.from_numpy(group),
    )
    return ParticleImages(particles, images, names, noise[first_member].tolist())


def read_references(path: Path, box_px: int, pixel_size_angstrom: float) -> Tensor:
    """References ``[k, n, n, n]`` float32 from one map, or a STAR file of several (rlnReferenceImage).

    Raises:
        InputError: a map is missing or malformed, or its box or pixel size is not the particles'.
    """
    paths = [path]
    if path.suffix == ".star":
        blocks = [b for b in read_star(path).values() if "rlnReferenceImage" in b.columns]
        if not blocks:
            raise InputError(f"{path}: column rlnReferenceImage is missing; this is not a list of references.")
        paths = [path.parent / name for name in blocks[0].text("rlnReferenceImage")]
    return torch.stack([read_matching_map(entry, box_px, pixel_size_angstrom) for entry in paths])


def read_matching_map(path: Path, box_px: int, pixel_size_angstrom: float) -> Tensor:
    """A map ``[n, n, n]`` float32 of the particles' box and pixel size.

    Raises:
        InputError: it is missing or malformed, or its box or pixel size differs (by more than 1 %).
    """
    return torch.from_numpy(matching_map(path, box_px, pixel_size_angstrom))


def _groups(particles: Particles) -> tuple[list[str], NDArray[np.int64]]:
    """Names and index (from 0) of the groups: rlnGroupName, else rlnMicrographName, else one for all."""
    for label in ("rlnGroupName", "rlnMicrographName"):
        if label in particles.columns:
            names, index = np.unique(particles.columns[label].astype(str), return_inverse=True)
            return names.tolist(), index.reshape(-1).astype(np.int64)
    return ["all"], np.zeros(len(particles), dtype=np.int64)


def _no_ctf(count: int) -> CtfParameters:
    zeros = torch.zeros(count, dtype=torch.float64)
    return CtfParameters(zeros, zeros, zeros, zeros, zeros + 300.0, zeros, zeros)
