"""The CTF against its closed form in independent arithmetic, and its signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cryorepro.em.conventions import electron_wavelength_angstrom
from cryorepro.em.ctf import CtfParameters, ctf_values


def _parameters(
    u: float, v: float, angle: float = 0.0, shift: float = 0.0, kv: float = 300.0, q0: float = 0.1
) -> CtfParameters:
    values = (u, v, angle, shift, kv, 2.7, q0)
    return CtfParameters(*(torch.tensor([value], dtype=torch.float64) for value in values))


@pytest.mark.parametrize(("kv", "picometre"), [(300.0, 1.9687), (200.0, 2.5079), (120.0, 3.3492)])
def test_wavelength_is_the_textbook_value(kv: float, picometre: float) -> None:
    assert electron_wavelength_angstrom(kv) * 100 == pytest.approx(picometre, abs=2e-4)


def test_matches_scalar_arithmetic_with_astigmatism_and_phase_plate() -> None:
    u, v, angle, shift, box, pixel = 21000.0, 18000.0, 35.0, 70.0, 64, 3.3
    kx, ky = torch.tensor([0, 3, 10, 17, 2]), torch.tensor([1, -4, 22, 0, -30])
    got = ctf_values(_parameters(u, v, angle, shift), kx, ky, box, pixel)[0]
    wavelength = 12.2643247 / math.sqrt(3e5 * (1 + 3e5 * 0.978466e-6))
    for x, y, value in zip(kx.tolist(), ky.tolist(), got.tolist(), strict=True):
        s2 = (x * x + y * y) / (box * pixel) ** 2
        turned = math.atan2(y, x) - math.radians(angle)
        defocus = u * math.cos(turned) ** 2 + v * math.sin(turned) ** 2
        phase = math.pi * wavelength * s2 * (defocus - 0.5 * 2.7e7 * wavelength**2 * s2)
        expected = math.sin(phase + math.radians(shift) + math.atan(0.1 / math.sqrt(1 - 0.01)))
        assert value == pytest.approx(expected, abs=2e-6)


def test_positive_at_low_resolution_and_the_first_zero_where_it_belongs() -> None:
    box, pixel, defocus = 400, 1.0, 15000.0
    k = torch.arange(1, 120)
    values = ctf_values(_parameters(defocus, defocus, q0=0.07), k, torch.zeros_like(k), box, pixel)[0].numpy()
    assert values[0] > 0
    zero = k[int(np.argmax(values < 0))].item() / box
    # without spherical aberration: pi lambda dz s^2 + asin(q0) = pi
    expected = math.sqrt((math.pi - math.asin(0.07)) / (math.pi * electron_wavelength_angstrom(300) * defocus))
    assert zero == pytest.approx(expected, abs=1.5 / box)
