"""Exposure weights of Grant & Grigorieff, eLife 4 (2015) e06980, and the few sums of frames that carry them.

The weight of a frame depends on frequency and exposure as exp(-N / (2 Ne(k))). All frames' weights are combinations
of a few functions of frequency, found by singular values, so a weighted sum of any number of frames needs as many
transforms as there are such functions, not one per frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.devices.choice import CPU

Floats = NDArray[np.float64]
_A, _B, _C = 0.24499, -1.6649, 2.8141  # equation 3 of the paper, e/A^2 at 300 kV with k in 1/A
_REST_KEV = 510.99895
_ERROR = 2e-3
_SAMPLES = 8192
_ROWS = {"cpu": 64, "cuda": 1024}


def critical_exposure(k_per_angstrom: Floats, voltage_kv: float) -> Floats:
    """Return Ne(k) in electrons per square Angstrom; infinite at k = 0.

    Measured at 300 kV (equation 3). At other voltages it is taken to be proportional to the square of the
    electrons' speed, as the cross-section of inelastic scattering is inversely: 0.80 at 200 kV, 0.50 at 100 kV.
    """
    with np.errstate(divide="ignore"):
        at_300 = _A * np.asarray(k_per_angstrom, dtype=np.float64) ** _B + _C
    found: Floats = at_300 * (_speed_squared(voltage_kv) / _speed_squared(300.0))
    return found


def _speed_squared(voltage_kv: float) -> float:
    """Square of v / c."""
    return 1.0 - 1.0 / (1.0 + voltage_kv / _REST_KEV) ** 2


def exposure_weights(k_per_angstrom: Floats, accumulated: Floats, voltage_kv: float) -> Floats:
    """Return ``[frames, k]`` weights whose squares sum to 1 at every frequency (equation 9: noise is kept).

    Args:
        k_per_angstrom: ``[k]``.
        accumulated: ``[frames]`` exposure at the end of each frame, e/A^2, what came before the movie included.
        voltage_kv: acceleration voltage.
    """
    halves = 0.5 / critical_exposure(k_per_angstrom, voltage_kv)[None, :]
    # a common factor cancels; without it all weights vanish together at high exposure
    excess = (accumulated - accumulated.min())[:, None]
    weights = np.exp(-excess * halves)
    found: Floats = weights / np.sqrt((weights**2).sum(axis=0))
    return found


@dataclass(frozen=True)
class WeightBasis:
    """Weights as ``frames.T @ curves``: coefficients ``[sums, frames]`` and ``[sums, samples]`` over frequency.

    The samples divide 0 to ``highest`` (cycles per pixel) evenly; the nearest one is taken.
    """

    frames: Floats
    curves: Floats
    highest: float

    def combine(self, transforms: Iterable[Tensor], height: int, width: int, device: torch.device = CPU) -> Tensor:
        """Return the weighted transform ``[h, w // 2 + 1]`` of one transform per curve, taken one by one.

        All are on ``device``.
        """
        fy, fx = torch.fft.fftfreq(height, device=device), torch.fft.rfftfreq(width, device=device)
        step = _ROWS[device.type]
        scale = (self.curves.shape[1] - 1) / self.highest
        nearest = torch.empty(height, len(fx), dtype=torch.int64, device=device)
        for top in range(0, height, step):
            rows = slice(top, top + step)
            nearest[rows] = ((fy[rows, None] ** 2 + fx[None, :] ** 2).sqrt() * scale).round().long()
        out = torch.zeros(height, len(fx), dtype=torch.complex64, device=device)
        for curve, transform in zip(torch.from_numpy(self.curves).float().to(device), transforms, strict=True):
            for top in range(0, height, step):
                rows = slice(top, top + step)
                factors = curve.index_select(0, nearest[rows].reshape(-1)).view(-1, len(fx))
                _add_product(out[rows], transform[rows], factors)
        return out


def _add_product(total: Tensor, values: Tensor, factors: Tensor) -> None:
    """Add complex ``values`` times real ``factors``; torch would make the factors complex first, which costs."""
    if total.device.type == "cpu":
        sums = total.numpy()
        sums += values.numpy() * factors.numpy()
    else:
        parts = torch.view_as_real(total)
        parts += torch.view_as_real(values) * factors[..., None]


def weight_basis(accumulated: Floats, voltage_kv: float, pixel_size_angstrom: float) -> WeightBasis:
    """Decompose the weights of frames; none is off by more than 0.002 of a frame's weight without any dose."""
    highest = float(np.sqrt(0.5))
    k = np.linspace(0.0, highest, _SAMPLES) / pixel_size_angstrom
    weights = exposure_weights(k, accumulated, voltage_kv)
    few = torch.from_numpy(np.ascontiguousarray(weights[:, :: _SAMPLES // 512]))
    left = torch.linalg.svd(few, full_matrices=False)[0].numpy()
    allowed = _ERROR / np.sqrt(len(accumulated))
    for rank in range(1, left.shape[1] + 1):
        frames = left[:, :rank].T
        curves = frames @ weights
        if np.abs(frames.T @ curves - weights).max() <= allowed:
            break
    return WeightBasis(frames, curves, highest)
