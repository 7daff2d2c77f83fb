"""Radial filters of cubic maps: distance from the Fourier origin in shells, and a soft low-pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError
from cryorepro.em.transforms import backward, forward

Map = npt.NDArray[np.floating]
Volume = npt.NDArray[np.float64]


def check_cubic(volume: Map, name: str = "map") -> int:
    """Return the box size of a cubic map.

    Raises:
        InputError: the array is not a cube with an even side of at least 8, or holds NaN or infinity.
    """
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise InputError(f"{name} must be a cube, not {' x '.join(str(side) for side in volume.shape)}")
    if volume.shape[0] < 8 or volume.shape[0] % 2:
        raise InputError(f"{name} must have an even side of at least 8 voxels, not {volume.shape[0]}")
    if not np.isfinite(volume).all():
        raise InputError(f"{name} holds NaN or infinite values")
    return int(volume.shape[0])


def fourier_radius(box_px: int) -> Volume:
    """Distance of every ``rfftn`` coefficient from the origin, in shells: ``[box, box, box // 2 + 1]``."""
    full = np.fft.fftfreq(box_px, 1.0 / box_px)
    half = np.arange(box_px // 2 + 1, dtype=np.float64)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    return np.asarray(np.sqrt(squared))


def raised_cosine(distance: Volume, start: float, stop: float) -> Volume:
    """1 up to ``start``, 0 from ``stop`` on, half a cosine wave between."""
    if stop <= start:
        return np.asarray(distance <= start, dtype=np.float64)
    phase = np.clip((distance - start) / (stop - start), 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * phase))


def multiply_fourier(volume: Map, weights: Volume) -> Volume:
    """Multiply the Fourier transform of a real map ``[n, n, n]`` by ``weights [n, n, n // 2 + 1]``."""
    spectrum = forward(np.asarray(volume, dtype=np.float64))
    spectrum *= weights
    return np.asarray(backward(spectrum), dtype=np.float64)


def lowpass_map(
    volume: Map, resolution_angstrom: float, pixel_size_angstrom: float, edge_shells: float = 2.0
) -> Volume:
    """Low-pass a map with a raised-cosine edge centred on the shell nearest to ``resolution_angstrom``.

    Raises:
        InputError: the map is not cubic, or the resolution is finer than Nyquist allows or not positive.
    """
    box = check_cubic(volume)
    return multiply_fourier(
        volume, lowpass_weights(fourier_radius(box), box, resolution_angstrom, pixel_size_angstrom, edge_shells)
    )


def lowpass_weights(
    radius: Volume, box_px: int, resolution_angstrom: float, pixel_size_angstrom: float, edge_shells: float = 2.0
) -> Volume:
    """What `lowpass_map` multiplies coefficients at distances ``radius`` by, in shells.

    Raises:
        InputError: the resolution is finer than Nyquist allows or not positive.
    """
    if not resolution_angstrom >= 2.0 * pixel_size_angstrom > 0.0:
        raise InputError(
            f"cannot low-pass at {resolution_angstrom} A: the pixel size {pixel_size_angstrom} A gives a"
            f" Nyquist limit of {2.0 * pixel_size_angstrom} A"
        )
    shell = round(box_px * pixel_size_angstrom / resolution_angstrom)
    start = max(0.0, shell - edge_shells / 2.0)
    stop = min(box_px // 2 + 1.0, shell + edge_shells / 2.0)
    return raised_cosine(radius, start, stop)
