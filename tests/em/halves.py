"""Half maps for tests: a fixed blob phantom with falling amplitudes, plus independent noise."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np

BOX = 48
PIXEL = 3.0


def phantom(box: int = BOX, blobs: int = 60, seed: int = 3) -> np.ndarray:
    """Gaussian blobs within a third of the box, float64 ``[z, y, x]``."""
    generator = np.random.default_rng(seed)
    axis = np.arange(box) - box // 2
    volume = np.zeros((box, box, box))
    for centre in generator.normal(0, box / 11, (blobs, 3)):
        lines = [np.exp(-((axis - c) ** 2) / (2 * 1.3**2)) for c in centre]
        volume += lines[0][:, None, None] * lines[1][None, :, None] * lines[2][None, None, :]
    return volume


def half_maps(noise: float = 0.4, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy copies of the phantom, float32 as a file would hold them."""
    generator = np.random.default_rng(seed)
    signal = phantom()
    first, second = (signal + noise * generator.normal(size=signal.shape) for _ in range(2))
    return first.astype(np.float32), second.astype(np.float32)


def save(path: Path, volume: np.ndarray, pixel: float = PIXEL) -> None:
    """Write an MRC map with the reference library, not with the package under test."""
    with mrcfile.new(path) as handle:
        handle.set_data(volume.astype(np.float32))
        handle.voxel_size = pixel
