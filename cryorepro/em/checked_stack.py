"""What every program that reads particles and maps checks of them; nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.support import check_supported


def open_checked_stack(star: Path, *, require_ctf: bool = True) -> tuple[Particles, ParticleStack]:
    """A particle table and its stacks; pixels are read when they are needed.

    Raises:
        InputError: the table or a stack is missing, malformed, or of an odd or too small box, or the table asks
            for what the engines do not model (helices, magnification matrices, higher aberrations).
    """
    particles = read_particles(star, require_ctf=require_ctf)
    check_supported(particles, beam_tilt=True)
    stack = ParticleStack.open(particles)
    if stack.box_px % 2 or stack.box_px < 16:
        raise InputError(f"{star}: a box of {stack.box_px} pixels is not supported: it must be even and at least 16.")
    return particles, stack


def matching_map(path: Path, box_px: int, pixel_size_angstrom: float) -> NDArray[np.float32]:
    """A map ``[n, n, n]`` float32 of the particles' box and pixel size.

    Raises:
        InputError: it is missing or malformed, or its box or pixel size differs (by more than 1 %).
    """
    volume, pixel = read_map(path)
    if volume.shape != (box_px,) * 3:
        raise InputError(f"{path}: a map of {volume.shape[2]} voxels does not fit particles of {box_px} pixels.")
    if abs(pixel / pixel_size_angstrom - 1.0) > 0.01:
        raise InputError(f"{path}: voxels of {pixel:g} A do not fit particles of {pixel_size_angstrom:g} A per pixel.")
    return volume
