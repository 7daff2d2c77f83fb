"""The grey scale of simulated projections is found without their poses; inverted contrast is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from cryorepro.em.ctf import CtfParameters, ctf_values
from cryorepro.em.errors import InputError
from cryorepro.em.greyscale import rotational_grey_scale
from cryorepro.em.rotations import random_rotations

BOX, PIXEL, FACTOR = 32, 6.0, 3.5


def _hollow_shell() -> np.ndarray:
    axis = np.arange(BOX) - BOX // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    lumps = 1.0 + 0.3 * np.sin(axis)[:, None, None] * np.cos(axis)[None, :, None]
    return np.asarray(np.exp(-((radius - 9.0) ** 2) / 4.0) * lumps)


def _images(volume: np.ndarray, count: int) -> tuple[np.ndarray, CtfParameters]:
    """Real-space projections of turned volumes, with CTF and noise: not this package's projector."""
    generator = np.random.default_rng(0)
    defocus = torch.from_numpy(generator.uniform(10_000, 25_000, count))
    full = torch.full((count,), 1.0, dtype=torch.float64)
    ctf = CtfParameters(defocus, defocus, 0 * full, 0 * full, 300 * full, 2.7 * full, 0.1 * full)
    k = torch.fft.fftfreq(BOX, 1 / BOX).long()
    ky, kx = torch.meshgrid(k, k[: BOX // 2 + 1].abs(), indexing="ij")
    transfer = ctf_values(ctf, kx.flatten(), ky.flatten(), BOX, PIXEL).reshape(count, BOX, -1).numpy()
    images = np.empty((count, BOX, BOX), dtype=np.float32)
    for i, turn in enumerate(random_rotations(count, torch.Generator().manual_seed(5)).numpy()):
        offset = BOX // 2 - turn @ np.full(3, BOX // 2)
        flat = ndimage.affine_transform(volume, turn, offset, order=1).sum(axis=0)
        images[i] = FACTOR * np.fft.irfft2(np.fft.rfft2(flat) * transfer[i], s=(BOX, BOX))
    return images + generator.normal(0, images.std(), images.shape).astype(np.float32), ctf


def test_the_factor_of_the_simulation_is_found_and_its_sign_matters() -> None:
    volume = _hollow_shell()
    images, ctf = _images(volume, 60)
    assert rotational_grey_scale(images, ctf, volume, PIXEL) == pytest.approx(FACTOR, rel=0.05)
    with pytest.raises(InputError, match="contrast inverted"):
        rotational_grey_scale(-images, ctf, volume, PIXEL)
