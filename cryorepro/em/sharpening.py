"""Sharpening of a map: detector MTF, FSC weighting, Guinier plot, B-factor and low-pass.

Formulas: Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721, for the B-factor from the Guinier plot and the
weight sqrt(2 FSC / (1 + FSC)); the order of the steps and the shell rules are ``relion_postprocess``'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mtf import MtfCurve
from cryorepro.em.fsc import Curve
from cryorepro.em.lowpass import Map, lowpass_weights
from cryorepro.em.shell_sums import (
    amplitude_sums,
    by_shell,
    largest_square,
    multiply_by_square,
    shell_of_squares,
    square_counts,
)
from cryorepro.em.transforms import backward, forward

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


def guinier_curve(amplitudes: Curve, box_px: int) -> Curve:
    """ln of the mean amplitude per shell, from amplitudes summed over each |k|^2; ``NO_AMPLITUDE`` in empty shells."""
    mean = by_shell(amplitudes, box_px) / by_shell(square_counts(box_px), box_px)
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


def sharpen(average: Map, corrected: Curve, pixel_size_angstrom: float, how: Sharpening) -> tuple[Map, Guinier, float]:
    """Weight a map by its FSC and flatten (or apply) its B-factor.

    Args:
        average: mean of the half maps ``[n, n, n]``; the result has its precision.
        corrected: corrected FSC, ``[n // 2 + 1]``.
        pixel_size_angstrom: pixel size.
        how: which steps.

    Returns:
        the sharpened map, the Guinier curves and the B-factor applied.

    Raises:
        InputError: the fit has too few shells, or the low-pass is finer than Nyquist.
    """
    spectrum = forward(average)
    plan = sharpening_plan(amplitude_sums(spectrum), len(average), corrected, pixel_size_angstrom, how)
    multiply_by_square(spectrum, plan.factors)
    return backward(spectrum), plan.guinier, plan.bfactor_angstrom2


@dataclass(frozen=True)
class SharpeningPlan:
    """What sharpening a map comes to: the factor of each |k|^2, with all steps in it, and the curves behind it."""

    factors: Curve
    guinier: Guinier
    bfactor_angstrom2: float


def sharpening_plan(
    amplitudes: Curve, box_px: int, corrected: Curve, pixel_size_angstrom: float, how: Sharpening
) -> SharpeningPlan:
    """Work `sharpen` out on the sums ``amplitudes`` over each |k|^2: every step multiplies by a function of |k|.

    Raises:
        InputError: the fit has too few shells, or the low-pass is finer than Nyquist.
    """
    box, amplitudes = box_px, amplitudes / float(box_px) ** 3
    radius = np.sqrt(np.arange(largest_square(box) + 1.0))
    inverse_square = (np.arange(box // 2 + 1) / (box * pixel_size_angstrom)) ** 2
    factors = np.ones(len(radius))
    last = original = guinier_curve(amplitudes, box)
    mtf_corrected = weighted = None
    if how.mtf is not None:
        factors /= _mtf_values(how, how.mtf, radius, box, pixel_size_angstrom)
        last = mtf_corrected = guinier_curve(amplitudes * factors, box)
    if how.fsc_weighting:
        factors *= fsc_weights(corrected)[shell_of_squares(box)]
        last = weighted = guinier_curve(amplitudes * factors, box)
    fit, bfactor = None, how.bfactor_angstrom2
    if bfactor is None:
        fit = fit_guinier(inverse_square, last, how.lowest_resolution_angstrom, how.highest_resolution_angstrom)
        bfactor = fit.bfactor_angstrom2
    factors *= bfactor_weights(radius, box, pixel_size_angstrom, bfactor)
    guinier = Guinier(inverse_square, original, mtf_corrected, weighted, guinier_curve(amplitudes * factors, box), fit)
    if how.lowpass_angstrom is not None:
        factors *= lowpass_weights(radius, box, how.lowpass_angstrom, pixel_size_angstrom)
    return SharpeningPlan(factors, guinier, bfactor)


def _mtf_values(how: Sharpening, mtf: MtfCurve, radius: Curve, box_px: int, pixel_size_angstrom: float) -> Curve:
    """MTF at distances ``radius`` in shells; 1 beyond Nyquist, which RELION does not correct either."""
    recorded = how.mtf_pixel_size_angstrom or pixel_size_angstrom
    values = mtf.at(radius / (box_px * pixel_size_angstrom) * recorded)
    return np.where(radius < box_px / 2, values, 1.0)


def bfactor_weights(radius: Curve, box_px: int, pixel_size_angstrom: float, bfactor_angstrom2: float) -> Curve:
    """exp(-B / 4 |k|^2) at distances ``radius`` in shells; 0 beyond Nyquist, as in RELION."""
    weights = np.exp(-bfactor_angstrom2 / 4.0 * (radius / (box_px * pixel_size_angstrom)) ** 2)
    return np.where(radius <= box_px / 2, weights, 0.0)


def apply_bfactor(volume: Map, pixel_size_angstrom: float, bfactor_angstrom2: float) -> Map:
    """A map ``[n, n, n]`` with its amplitudes multiplied by exp(-B / 4 |k|^2) up to Nyquist, in its precision."""
    box, spectrum = volume.shape[0], forward(volume)
    radius = np.sqrt(np.arange(largest_square(box) + 1.0))
    multiply_by_square(spectrum, bfactor_weights(radius, box, pixel_size_angstrom, bfactor_angstrom2))
    return backward(spectrum)
