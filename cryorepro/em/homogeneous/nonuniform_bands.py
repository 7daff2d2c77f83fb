"""Non-uniform regularisation with a gain for every voxel and band: the family's best member in closed form.

The criterion is that of `nonuniform`: each half, filtered, is to predict the other.  The transform is cut into bands;
with a gain g for a band b at a voxel, ``sum (g b1 - b2)^2 + (g b2 - b1)^2`` over the neighbourhood is least at
``g = 2 sum b1 b2 / sum (b1^2 + b2^2)``, a local FSC.  Gains are held to 0..1 and never rise towards finer bands: a
smoothing, as soft as the data say.  A neighbourhood as large as the box gives the same gains everywhere, which is the
uniform filter by the FSC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from cryorepro.em.errors import InputError
from cryorepro.em.homogeneous.nonuniform import around, butterworth, family
from cryorepro.em.homogeneous.options import LocalFilterOptions
from cryorepro.em.lowpass import Map, Volume, check_cubic, fourier_radius

_HALF = 0.5


@dataclass(frozen=True)
class BandFilter:
    """Gains ``[f, n, n, n]`` float32 of bands that end at ``cutoffs [f]`` shells; the last goes to the corners."""

    cutoffs: npt.NDArray[np.float64]
    gains: npt.NDArray[np.float32]
    order: float

    def apply(self, volume: Map) -> Volume:
        """The map ``[n, n, n]`` with each band multiplied by its gain at each voxel."""
        out = np.zeros(volume.shape, dtype=np.float64)
        for gain, part in zip(self.gains, _bands(volume, self.cutoffs, self.order), strict=True):
            out += gain * part
        return out

    def cutoff_shells(self) -> Volume:
        """``[n, n, n]`` end of the last band of each voxel whose gain is a half or more."""
        held = (self.gains >= _HALF).sum(axis=0)  # gains never rise: those held come first
        shells = np.concatenate([self.cutoffs[:1], self.cutoffs])
        return np.asarray(shells[held])


def choose_bands(half1: Map, half2: Map, options: LocalFilterOptions) -> BandFilter:
    """Choose the gains for two unfiltered half maps ``[n, n, n]``.

    Raises:
        InputError: they are not finite cubes of one size.
    """
    box = check_cubic(half1, "half1")
    if check_cubic(half2, "half2") != box:
        raise InputError(f"half maps of {box} and {half2.shape[0]} voxels do not belong together")
    cutoffs = family(box, options.filters)
    gains = np.empty((len(cutoffs), box, box, box), dtype=np.float32)
    highest = np.ones((box,) * 3)
    pairs = zip(_bands(half1, cutoffs, options.order), _bands(half2, cutoffs, options.order), strict=True)
    for place, (first, second) in enumerate(pairs):
        window = (box, float(cutoffs[place]), options.window_factor)
        power = around(first**2 + second**2, *window)
        common = around(2.0 * first * second, *window)
        gain = np.divide(common, power, out=np.zeros_like(power), where=power > 0.0)
        highest = np.minimum(highest, np.clip(gain, 0.0, 1.0))
        gains[place] = highest
    return BandFilter(cutoffs, gains, options.order)


def _bands(volume: Map, cutoffs: npt.NDArray[np.float64], order: float) -> Iterator[Volume]:
    """What lies between neighbouring low-passes; the bands' sum is the map."""
    radius = fourier_radius(volume.shape[0])
    spectrum = fft.rfftn(np.asarray(volume, dtype=np.float64))
    before = np.zeros_like(radius)
    for cutoff in cutoffs[:-1].tolist():
        passed = butterworth(radius, cutoff, order)
        yield np.asarray(fft.irfftn(spectrum * (passed - before), s=volume.shape))
        before = passed
    yield np.asarray(fft.irfftn(spectrum * (1.0 - before), s=volume.shape))
