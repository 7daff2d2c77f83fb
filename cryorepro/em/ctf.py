"""The contrast transfer function, batched over particles (formula and sign: conventions, RELION's)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.conventions import electron_wavelength_angstrom


@dataclass(frozen=True)
class CtfParameters:
    """What one CTF needs, ``[b]`` float64 each.

    Defocus in Angstrom (underfocus positive), angles and phase shift in degrees, Cs in mm, voltage in kV;
    the amplitude contrast is a fraction.
    """

    defocus_u_angstrom: Tensor
    defocus_v_angstrom: Tensor
    defocus_angle_deg: Tensor
    phase_shift_deg: Tensor
    voltage_kv: Tensor
    spherical_aberration_mm: Tensor
    amplitude_contrast: Tensor

    def select(self, index: Tensor) -> CtfParameters:
        """The parameters of the particles at ``index``."""
        return CtfParameters(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> CtfParameters:
        """The same parameters on another device."""
        return CtfParameters(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def wavelengths_angstrom(voltage_kv: Tensor) -> Tensor:
    """Electron wavelength of each voltage in kV."""
    distinct, inverse = torch.unique(voltage_kv, return_inverse=True)
    values = [electron_wavelength_angstrom(float(voltage)) for voltage in distinct]
    return torch.tensor(values, dtype=torch.float64, device=voltage_kv.device)[inverse]


def ctf_values(parameters: CtfParameters, kx: Tensor, ky: Tensor, box_px: int, pixel_size_angstrom: float) -> Tensor:
    """CTF ``[b, n]`` float32 at integer Fourier indices ``kx``, ``ky`` ``[n]`` of a box.

    Worked in float64: the phase reaches hundreds of radians.
    """
    return torch.sin(ctf_phase(parameters, kx, ky, box_px, pixel_size_angstrom)).float()


def ctf_phase(parameters: CtfParameters, kx: Tensor, ky: Tensor, box_px: int, pixel_size_angstrom: float) -> Tensor:
    """What the CTF is the sine of, in rad: ``[b, n]`` float64 (conventions, "Contrast transfer")."""
    scale = 1.0 / (box_px * pixel_size_angstrom)
    fx, fy = kx.double() * scale, ky.double() * scale
    squared, azimuth = fx**2 + fy**2, torch.atan2(fy, fx)
    u, v = parameters.defocus_u_angstrom[:, None], parameters.defocus_v_angstrom[:, None]
    turned = azimuth[None] - torch.deg2rad(parameters.defocus_angle_deg)[:, None]
    defocus = 0.5 * (u + v) + 0.5 * (u - v) * torch.cos(2.0 * turned)
    wavelength = wavelengths_angstrom(parameters.voltage_kv)[:, None]
    aberration = parameters.spherical_aberration_mm[:, None] * 1e7
    phase = math.pi * wavelength * defocus * squared
    phase = phase - 0.5 * math.pi * aberration * wavelength**3 * squared**2
    phase = phase + torch.deg2rad(parameters.phase_shift_deg)[:, None]
    return phase + torch.asin(parameters.amplitude_contrast)[:, None]
