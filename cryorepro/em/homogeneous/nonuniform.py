"""Non-uniform regularisation: each voxel's low-pass chosen by cross-validation between the two halves.

The method is that of Punjani, Zhang & Fleet, Nature Methods 17 (2020) 1214, doi:10.1038/s41592-020-00990-8: of a family
of Butterworth low-passes h, each voxel takes the one with the least ``|h * m1 - m2|^2 + |h * m2 - m1|^2`` in a
neighbourhood as large as a few of the filter's wavelengths; the choice is made from both halves together, the filter
is then applied to each half alone.

The squared errors of two neighbours in the family differ by what the band between them brings.  Here the difference
of each pair is averaged over the neighbourhood of its own band, and the differences are summed from coarse to fine:
the same criterion, but what all filters share never enters with windows of different size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from cryorepro.em.errors import InputError
from cryorepro.em.homogeneous.options import LocalFilterOptions
from cryorepro.em.lowpass import Map, Volume, check_cubic, fourier_radius

Spectrum = npt.NDArray[np.complex128]

_COARSEST_SHELL = 2.0
_FWHM_PER_SIGMA = 2.3548
# Neighbours in the family differ little: a choice that wavers between them is smoothed over about a voxel.
_SMOOTH_CHOICE_PX = 1.0


@dataclass(frozen=True)
class LocalFilter:
    """The choice made for each voxel.

    Attributes:
        cutoffs: ``[f]`` shells at which the family's filters have half their power, ascending.
        choice: ``[n, n, n]`` float64, place in the family; between two places both are mixed.
        order: of the filters.
    """

    cutoffs: npt.NDArray[np.float64]
    choice: Volume
    order: float

    def apply(self, volume: Map) -> Volume:
        """The map ``[n, n, n]`` with each voxel low-passed as chosen for it."""
        spectrum, radius = fft.rfftn(np.asarray(volume, dtype=np.float64)), fourier_radius(volume.shape[0])
        out = np.zeros(volume.shape, dtype=np.float64)
        for place, cutoff in enumerate(self.cutoffs):
            share: Volume = np.clip(1.0 - np.abs(self.choice - place), 0.0, None)
            if share.any():
                out += share * _filtered(spectrum, radius, float(cutoff), self.order, volume.shape)
        return out

    def cutoff_shells(self) -> Volume:
        """``[n, n, n]`` shell of each voxel's low-pass."""
        return np.asarray(np.interp(self.choice, np.arange(len(self.cutoffs)), self.cutoffs))


def family(box_px: int, count: int) -> npt.NDArray[np.float64]:
    """Cut-offs ``[count]`` in shells, evenly spaced in their logarithm from a coarse one to Nyquist."""
    return np.asarray(np.geomspace(_COARSEST_SHELL, box_px / 2.0, count))


def butterworth(radius: Volume, cutoff_shell: float, order: float) -> Volume:
    """Amplitudes ``1 / sqrt(1 + (r / cutoff)^(2 order))``; a half of the power passes at the cut-off."""
    return np.asarray(1.0 / np.sqrt(1.0 + (radius / cutoff_shell) ** (2.0 * order)))


def choose_filter(half1: Map, half2: Map, options: LocalFilterOptions) -> LocalFilter:
    """Choose a low-pass for every voxel of two unfiltered half maps ``[n, n, n]``.

    Raises:
        InputError: they are not finite cubes of one size.
    """
    box = check_cubic(half1, "half1")
    if check_cubic(half2, "half2") != box:
        raise InputError(f"half maps of {box} and {half2.shape[0]} voxels do not belong together")
    radius, cutoffs = fourier_radius(box), family(box, options.filters)
    maps = [np.asarray(half, dtype=np.float64) for half in (half1, half2)]
    spectra = [fft.rfftn(half) for half in maps]
    total = np.zeros(maps[0].shape)
    best, choice = np.zeros(total.shape), np.zeros(total.shape)
    before = _errors(maps, spectra, radius, float(cutoffs[0]), options.order)
    for place, cutoff in enumerate(cutoffs[1:].tolist(), start=1):
        after = _errors(maps, spectra, radius, cutoff, options.order)
        total += around(before - after, box, cutoff, options.window_factor)
        better = total > best
        best[better], choice[better] = total[better], place
        before = after
    return LocalFilter(cutoffs, ndimage.gaussian_filter(choice, _SMOOTH_CHOICE_PX), options.order)


def _errors(maps: list[Volume], spectra: list[Spectrum], radius: Volume, cutoff: float, order: float) -> Volume:
    """Squared error of each half, filtered, as a prediction of the other: their sum at each voxel."""
    first, second = (_filtered(spectrum, radius, cutoff, order, maps[0].shape) for spectrum in spectra)
    return np.asarray((first - maps[1]) ** 2 + (second - maps[0]) ** 2)


def _filtered(spectrum: Spectrum, radius: Volume, cutoff: float, order: float, shape: tuple[int, ...]) -> Volume:
    return np.asarray(fft.irfftn(spectrum * butterworth(radius, cutoff, order), s=shape))


def around(values: Volume, box_px: int, cutoff: float, window_factor: float) -> Volume:
    """Mean over a Gaussian neighbourhood ``window_factor`` wavelengths of the cut-off wide at half height."""
    sigma = min(window_factor * box_px / cutoff / _FWHM_PER_SIGMA, float(box_px))
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="constant"))
