"""Sharpening of a map: detector MTF, FSC weighting, Guinier plot, B-factor and low-pass.

Formulas: Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721, for the B-factor from the Guinier plot and the
weight sqrt(2 FSC / (1 + FSC)); the order of the steps and the shell rules are ``relion_postprocess``'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mtf import MtfCurve
from cryorepro.em.fsc import Curve, shell_sums
from cryorepro.em.lowpass import Map, Volume, fourier_radius, lowpass_map, multiply_fourier

Spectrum = npt.NDArray[np.complex128]

NO_AMPLITUDE = -99.0
"""Written for the logarithm of a shell with nothing in it, as RELION does."""


@dataclass(frozen=True)
class Sharpening:
    """How a map is sharpened.

    Attributes:
        bfactor_angstrom2: B-factor to apply (negative sharpens); None fits one to the Guinier plot.
        lowest_resolution_angstrom: coarsest resolution in the fit.
        highest_resolution_angstrom: finest resolution in the fit; None goes to Nyquist.
        fsc_weighting: whether shells are weighted by sqrt(2 FSC / (1 + FSC)).
        lowpass_angstrom: low-pass of the result; None for none.
        mtf: transfer function of the detector, divided out first.
        mtf_pixel_size_angstrom: pixel size at which the MTF was recorded; None is the map's.
    """

    bfactor_angstrom2: float | None = None
    lowest_resolution_angstrom: float = 10.0
    highest_resolution_angstrom: float | None = None
    fsc_weighting: bool = True
    lowpass_angstrom: float | None = None
    mtf: MtfCurve | None = None
    mtf_pixel_size_angstrom: float | None = None


@dataclass(frozen=True)
class GuinierFit:
    """A straight line through ln(amplitude) against 1/d^2; the B-factor is four times its slope.

    ``correlation`` is the square of the correlation coefficient, as RELION writes it.
    """

    slope: float
    intercept: float
    correlation: float

    @property
    def bfactor_angstrom2(self) -> float:
        """B-factor that flattens the fitted line."""
        return 4.0 * self.slope


@dataclass(frozen=True)
class Guinier:
    """Logarithm of the mean amplitude per shell after each step, ``[n // 2 + 1]``; None for a step left out."""

    inverse_square: Curve
    original: Curve
    mtf_corrected: Curve | None
    weighted: Curve | None
    sharpened: Curve
    fit: GuinierFit | None


def guinier_curve(spectrum: Spectrum) -> Curve:
    """ln of the mean amplitude per shell of an ``rfftn`` spectrum; ``NO_AMPLITUDE`` in empty shells."""
    box = spectrum.shape[0]
    mean = shell_sums(np.abs(spectrum), box) / shell_sums(np.ones(spectrum.shape), box)
    return np.where(mean > 1e-20, np.log(np.maximum(mean, 1e-300)), NO_AMPLITUDE)


def fit_guinier(
    inverse_square: Curve,
    logarithm: Curve,
    lowest_resolution_angstrom: float,
    highest_resolution_angstrom: float | None = None,
) -> GuinierFit:
    """Fit a line to the shells from ``lowest_resolution_angstrom`` to the highest that hold amplitude.

    Raises:
        InputError: fewer than three such shells.
    """
    used = (inverse_square >= 1.0 / lowest_resolution_angstrom**2 * (1.0 - 1e-9)) & (logarithm > NO_AMPLITUDE)
    if highest_resolution_angstrom is not None:
        used &= inverse_square <= 1.0 / highest_resolution_angstrom**2 * (1.0 + 1e-9)
    if used.sum() < 3:
        raise InputError(
            f"B-factor: {int(used.sum())} shells beyond {lowest_resolution_angstrom} A hold signal, but"
            " a fit needs three; give bfactor_angstrom2 or a coarser lowest_resolution_angstrom"
        )
    x, y = inverse_square[used], logarithm[used]
    slope, intercept = np.polyfit(x, y, 1)
    return GuinierFit(float(slope), float(intercept), float(np.corrcoef(x, y)[0, 1] ** 2))


def fsc_weights(corrected: Curve) -> Curve:
    """sqrt(2 FSC / (1 + FSC)) per shell, zero from the first shell without correlation outwards."""
    dead = np.flatnonzero(corrected[1:] < 1e-4)
    usable = len(corrected) if dead.size == 0 else int(dead[0]) + 1
    clipped = np.clip(corrected, 0.0, 1.0)
    weights = np.sqrt(2.0 * clipped / (1.0 + clipped))
    weights[usable:] = 0.0
    return np.asarray(weights)


def sharpen(
    average: Map, corrected: Curve, pixel_size_angstrom: float, how: Sharpening
) -> tuple[Volume, Guinier, float]:
    """Weight a map by its FSC and flatten (or apply) its B-factor.

    Args:
        average: mean of the half maps ``[n, n, n]``.
        corrected: corrected FSC, ``[n // 2 + 1]``.
        pixel_size_angstrom: pixel size.
        how: which steps.

    Returns:
        the sharpened map, the Guinier curves and the B-factor applied.

    Raises:
        InputError: the fit has too few shells, or the low-pass is finer than Nyquist.
    """
    box = average.shape[0]
    radius = fourier_radius(box)
    spectrum = fft.rfftn(np.asarray(average, dtype=np.float64)) / average.size
    inverse_square = (np.arange(box // 2 + 1) / (box * pixel_size_angstrom)) ** 2
    last = original = guinier_curve(spectrum)
    mtf_corrected = weighted = None
    if how.mtf is not None:
        spectrum /= _mtf_values(how, how.mtf, radius, pixel_size_angstrom)
        last = mtf_corrected = guinier_curve(spectrum)
    if how.fsc_weighting:
        shells = np.minimum(np.rint(radius).astype(np.int64), box // 2)
        spectrum *= np.where(np.rint(radius) <= box // 2, fsc_weights(corrected)[shells], 0.0)
        last = weighted = guinier_curve(spectrum)
    fit, bfactor = None, how.bfactor_angstrom2
    if bfactor is None:
        fit = fit_guinier(inverse_square, last, how.lowest_resolution_angstrom, how.highest_resolution_angstrom)
        bfactor = fit.bfactor_angstrom2
    spectrum *= bfactor_weights(radius, box, pixel_size_angstrom, bfactor)
    guinier = Guinier(inverse_square, original, mtf_corrected, weighted, guinier_curve(spectrum), fit)
    volume: Volume = np.asarray(fft.irfftn(spectrum * average.size, s=average.shape))
    if how.lowpass_angstrom is not None:
        volume = lowpass_map(volume, how.lowpass_angstrom, pixel_size_angstrom)
    return volume, guinier, bfactor


def _mtf_values(how: Sharpening, mtf: MtfCurve, radius: Volume, pixel_size_angstrom: float) -> Volume:
    """MTF at every coefficient; 1 beyond Nyquist, which RELION does not correct either."""
    recorded = how.mtf_pixel_size_angstrom or pixel_size_angstrom
    box = radius.shape[0]
    values = mtf.at(radius / (box * pixel_size_angstrom) * recorded)
    return np.where(radius < box / 2, values, 1.0)


def bfactor_weights(radius: Volume, box_px: int, pixel_size_angstrom: float, bfactor_angstrom2: float) -> Volume:
    """exp(-B / 4 |k|^2) at distances ``radius`` in shells; 0 beyond Nyquist, as in RELION."""
    weights = np.exp(-bfactor_angstrom2 / 4.0 * (radius / (box_px * pixel_size_angstrom)) ** 2)
    return np.where(radius <= box_px / 2, weights, 0.0)


def apply_bfactor(volume: Map, pixel_size_angstrom: float, bfactor_angstrom2: float) -> Volume:
    """A map ``[n, n, n]`` with its amplitudes multiplied by exp(-B / 4 |k|^2) up to Nyquist."""
    box = volume.shape[0]
    weights = bfactor_weights(fourier_radius(box), box, pixel_size_angstrom, bfactor_angstrom2)
    return multiply_fourier(volume, weights)
