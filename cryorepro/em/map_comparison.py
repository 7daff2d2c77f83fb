"""Two maps held against each other: aligned, scaled, correlated, and where they differ.

The second map is brought onto the first (hand included, when asked), scaled to it by least squares within a common
mask after both were cut where they cease to agree, and subtracted.  Fourier shell correlations use the same mask for
both, as the Map Challenge asked of its entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cryorepro.em.align import Alignment, align_maps, transform_map
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import Curve, crossing, fsc_curve
from cryorepro.em.lowpass import Map, Volume, check_cubic, fourier_radius, multiply_fourier, raised_cosine

_AGREES_IN_PLACE = 0.5
_SEARCH_SHELLS, _REFINE_SHELLS, _SEARCH_ROTATIONS = 8, 12, 2304
_LOCAL_WINDOW_PX = 7
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class LocalDifference:
    """The difference within the mask, over the first map's deviation there.

    ``largest_at_px`` is (z, y, x); ``correlation_quantiles`` are those of the correlation in a moving window.
    """

    rms: float
    largest: float
    largest_at_px: tuple[int, int, int]
    correlation_quantiles: dict[str, float]


@dataclass(frozen=True)
class MapComparison:
    """Curves ``[n // 2 + 1]`` and figures of two maps, the second moved onto the first."""

    curve: Curve
    masked_curve: Curve
    correlation: float
    difference: LocalDifference
    alignment: Alignment | None

    def shell(self, threshold: float) -> int:
        """Last shell before the FSC within the mask falls below ``threshold``."""
        return crossing(self.masked_curve, threshold).shell


def mean_fsc(first: Map, second: Map, shells: int | None = None) -> float:
    """Mean FSC over shells 1 to ``shells`` (half of Nyquist unless given)."""
    last = shells or max(3, first.shape[0] // 4)
    return float(fsc_curve(first, second)[1 : last + 1].mean())


def compare_maps(
    first: Map,
    second: Map,
    pixel_size_angstrom: float,
    mask: Map | None = None,
    symmetry: str = "C1",
    align: bool | None = None,
) -> MapComparison:
    """Compare two maps ``[n, n, n]`` of one pixel size.

    Args:
        first: the map held fixed.
        second: the map that may be moved onto it.
        pixel_size_angstrom: of both.
        mask: values 0 to 1, laid over both; none takes the whole box.
        symmetry: point group of the second about its origin; it shortens the search.
        align: search for rotation and shift; None searches when the maps do not agree as they lie.

    Raises:
        InputError: maps and mask are not finite cubes of one size.
    """
    box = check_cubic(first, "first map")
    weights = np.ones(first.shape) if mask is None else np.asarray(mask, dtype=np.float64)
    if check_cubic(second, "second map") != box or weights.shape != first.shape:
        raise InputError(f"maps of {first.shape} and {second.shape} voxels and a mask of {weights.shape} do not fit")
    alignment = None
    if align or (align is None and mean_fsc(first, second) < _AGREES_IN_PLACE):
        edge = box * pixel_size_angstrom
        search, refine = (max(edge / shells, 2.0 * pixel_size_angstrom) for shells in (_SEARCH_SHELLS, _REFINE_SHELLS))
        alignment = align_maps(first, second, pixel_size_angstrom, symmetry, search, refine, _SEARCH_ROTATIONS)
        second = transform_map(second, alignment.rotation, alignment.shift_angstrom / pixel_size_angstrom)
    masked = fsc_curve(first * weights, second * weights)
    cut = [_cut(volume, max(2, crossing(masked, 0.5).shell)) for volume in (first, second)]
    return MapComparison(
        curve=fsc_curve(first, second),
        masked_curve=masked,
        correlation=real_space_correlation(first, second, weights),
        difference=local_difference(cut[0], cut[1], weights),
        alignment=alignment,
    )


def real_space_correlation(first: Map, second: Map, weights: Map) -> float:
    """Correlation coefficient of two maps with ``weights`` (a mask) as the voxels' weights; 0 for a flat map."""
    a, b = (_centred(volume, weights) for volume in (first, second))
    power = float((weights * a * a).sum()) * float((weights * b * b).sum())
    return float((weights * a * b).sum() / np.sqrt(power)) if power > 0 else 0.0


def local_difference(first: Map, second: Map, weights: Map) -> LocalDifference:
    """Scale the second map to the first by least squares within ``weights`` and subtract it."""
    a, b = (_centred(volume, weights) for volume in (first, second))
    power = float((weights * b * b).sum())
    scale = float((weights * a * b).sum()) / power if power > 0 else 0.0
    deviation = float(np.sqrt((weights * a * a).sum() / weights.sum())) or 1.0
    difference = (a - scale * b) * weights / deviation
    worst = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    local = _local_correlation(a, b)[weights > 0.5]
    quantiles = np.quantile(local, _QUANTILES) if local.size else np.zeros(len(_QUANTILES))
    return LocalDifference(
        rms=float(np.sqrt((difference**2).sum() / weights.sum())),
        largest=float(difference[worst]),
        largest_at_px=(int(worst[0]), int(worst[1]), int(worst[2])),
        correlation_quantiles={f"{q:g}": float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)},
    )


def _centred(volume: Map, weights: Map) -> Volume:
    values = np.asarray(volume, dtype=np.float64)
    return np.asarray(values - (weights * values).sum() / weights.sum())


def _cut(volume: Map, shell: int) -> Volume:
    return multiply_fourier(volume, raised_cosine(fourier_radius(volume.shape[0]), shell, shell + 2.0))


def _local_correlation(first: Volume, second: Volume) -> Volume:
    """Correlation in a cube of 7 voxels about each voxel; 0 where either map is flat."""

    def mean(values: Volume) -> Volume:
        return np.asarray(ndimage.uniform_filter(values, _LOCAL_WINDOW_PX, mode="constant"))

    a, b = mean(first), mean(second)
    covariance = mean(first * second) - a * b
    power = np.maximum(mean(first**2) - a**2, 0.0) * np.maximum(mean(second**2) - b**2, 0.0)
    floor = 1e-12 * float(power.max())
    return np.asarray(np.divide(covariance, np.sqrt(power), out=np.zeros_like(covariance), where=power > floor))
