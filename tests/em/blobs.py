"""A lopsided map of Gaussian blobs whose size can be told exactly."""

from __future__ import annotations

import numpy as np

BOX = 32
PIXEL = 6.0


def blob_map(scale: float = 1.0, seed: int = 3, fine: int = 1) -> np.ndarray:
    """Blobs within a third of the box, enlarged ``scale`` times about voxel ``n // 2``; ``[z, y, x]``.

    ``fine`` makes that many voxels of each, along every axis.
    """
    generator = np.random.default_rng(seed)
    axis = (np.arange(fine * BOX) - fine * BOX // 2) / fine
    volume = np.zeros((len(axis),) * 3)
    for centre in generator.uniform(-1, 1, (45, 3)) * np.array([5.5, 7.5, 9.0]):
        lines = [np.exp(-((axis - scale * c) ** 2) / (2 * (1.25 * scale) ** 2)) for c in centre]
        volume += lines[0][:, None, None] * lines[1][None, :, None] * lines[2][None, None, :]
    return volume
