"""CTF parameters of a particle table as tensors."""

from __future__ import annotations

import torch

from cryorepro.em.ctf import CtfParameters
from cryorepro.em.formats.particles import Particles


def ctf_parameters(particles: Particles) -> CtfParameters:
    """The parameters of every particle, float64 ``[n]`` each.

    Raises:
        InputError: a defocus column is missing.
    """
    return CtfParameters(
        defocus_u_angstrom=torch.from_numpy(particles.defocus_u_angstrom.copy()),
        defocus_v_angstrom=torch.from_numpy(particles.defocus_v_angstrom.copy()),
        defocus_angle_deg=torch.from_numpy(particles.defocus_angle_degrees.copy()),
        phase_shift_deg=torch.from_numpy(particles.phase_shift_degrees.copy()),
        voltage_kv=torch.from_numpy(particles.per_particle("voltage_kv")),
        spherical_aberration_mm=torch.from_numpy(particles.per_particle("spherical_aberration_mm")),
        amplitude_contrast=torch.from_numpy(particles.per_particle("amplitude_contrast")),
    )
