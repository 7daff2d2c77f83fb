"""Sharpening of a refined map: solvent-corrected resolution, Guinier plot, B-factor, FSC weighting.

Formulas: Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721, for the B-factor from the Guinier plot and the
weight sqrt(2 FSC / (1 + FSC)); the order of the steps and the shell rules are ``relion_postprocess``'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import Curve, MaskedFsc, crossing, fsc_curve, masked_fsc, shell_sums, shell_to_angstrom
from cryorepro.em.lowpass import Map, Volume, fourier_radius

Spectrum = npt.NDArray[np.complex128]

NO_AMPLITUDE = -99.0
"""Written for the logarithm of a shell with nothing in it, as RELION does."""


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
    """Logarithm of the mean amplitude per shell at three steps, ``[n // 2 + 1]`` each."""

    inverse_square: Curve
    original: Curve
    weighted: Curve
    sharpened: Curve
    fit: GuinierFit | None


@dataclass(frozen=True)
class PostProcessed:
    """What post-processing gives: the sharpened map, the curves and the numbers behind them."""

    sharpened: Volume
    fsc: MaskedFsc
    guinier: Guinier
    resolution_shell: int
    bfactor_angstrom2: float
    mask_fraction: float | None
    box_px: int
    pixel_size_angstrom: float

    @property
    def resolution_angstrom(self) -> float:
        """Resolution where the corrected FSC falls below 0.143, in Angstrom."""
        return shell_to_angstrom(self.resolution_shell, self.box_px, self.pixel_size_angstrom)


def guinier_curve(spectrum: Spectrum) -> Curve:
    """ln of the mean amplitude per shell of an ``rfftn`` spectrum; ``NO_AMPLITUDE`` in empty shells."""
    box = spectrum.shape[0]
    mean = shell_sums(np.abs(spectrum), box) / shell_sums(np.ones(spectrum.shape), box)
    return np.where(mean > 1e-20, np.log(np.maximum(mean, 1e-300)), NO_AMPLITUDE)


def fit_guinier(inverse_square: Curve, logarithm: Curve, lowest_resolution_angstrom: float) -> GuinierFit:
    """Fit a line to the shells at or beyond ``lowest_resolution_angstrom`` that hold amplitude.

    Raises:
        InputError: fewer than three such shells.
    """
    used = (inverse_square >= 1.0 / lowest_resolution_angstrom**2 * (1.0 - 1e-9)) & (logarithm > NO_AMPLITUDE)
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
    average: Map,
    corrected: Curve,
    pixel_size_angstrom: float,
    bfactor_angstrom2: float | None,
    lowest_resolution_angstrom: float,
) -> tuple[Volume, Guinier, float]:
    """Weight a map by its FSC and flatten (or apply) its B-factor.

    Args:
        average: mean of the half maps ``[n, n, n]``.
        corrected: corrected FSC, ``[n // 2 + 1]``.
        pixel_size_angstrom: pixel size.
        bfactor_angstrom2: B-factor to apply (negative sharpens); None fits one.
        lowest_resolution_angstrom: coarsest resolution in the fit.

    Returns:
        the sharpened map, the Guinier curves and the B-factor applied.
    """
    box = average.shape[0]
    radius = fourier_radius(box)
    shells = np.minimum(np.rint(radius).astype(np.int64), box // 2)
    spectrum = fft.rfftn(np.asarray(average, dtype=np.float64)) / average.size
    inverse_square = (np.arange(box // 2 + 1) / (box * pixel_size_angstrom)) ** 2
    original = guinier_curve(spectrum)
    spectrum *= np.where(np.rint(radius) <= box // 2, fsc_weights(corrected)[shells], 0.0)
    weighted = guinier_curve(spectrum)
    fit = None
    if bfactor_angstrom2 is None:
        fit = fit_guinier(inverse_square, weighted, lowest_resolution_angstrom)
    bfactor = fit.bfactor_angstrom2 if fit is not None else float(bfactor_angstrom2 or 0.0)
    spectrum *= np.exp(-bfactor / 4.0 * (radius / (box * pixel_size_angstrom)) ** 2)
    guinier = Guinier(inverse_square, original, weighted, guinier_curve(spectrum), fit)
    return np.asarray(fft.irfftn(spectrum * average.size, s=average.shape)), guinier, bfactor


def postprocess(
    half1: Map,
    half2: Map,
    mask: Map | None,
    pixel_size_angstrom: float,
    generator: np.random.Generator,
    bfactor_angstrom2: float | None = None,
    lowest_resolution_angstrom: float = 10.0,
    randomise_at_fsc: float = 0.8,
) -> PostProcessed:
    """Measure the solvent-corrected resolution of two half maps and sharpen their mean.

    Args:
        half1: unfiltered half map ``[n, n, n]``.
        half2: the other half map.
        mask: soft solvent mask of that shape, values 0 to 1; without one nothing needs correcting.
        pixel_size_angstrom: pixel size.
        generator: source of the random phases.
        bfactor_angstrom2: B-factor to apply; None fits one to the Guinier plot.
        lowest_resolution_angstrom: coarsest resolution in that fit.
        randomise_at_fsc: phases are randomised from where the unmasked FSC falls below this.

    Raises:
        InputError: shapes differ, the mask leaves the range 0 to 1, the halves do not correlate, or the
            fit has too few shells.
    """
    if mask is None:
        plain = fsc_curve(half1, half2)
        curves = MaskedFsc(plain, plain, np.zeros_like(plain), plain, len(plain))
    else:
        _check_mask(mask)
        curves = masked_fsc(half1, half2, mask, generator, randomise_at_fsc)
    resolution_shell = crossing(curves.corrected, 0.143).shell
    if resolution_shell < 1:
        raise InputError("the half maps do not correlate: their FSC is below 0.143 in the first shell")
    average = 0.5 * (np.asarray(half1, dtype=np.float64) + half2)
    sharpened, guinier, bfactor = sharpen(
        average, curves.corrected, pixel_size_angstrom, bfactor_angstrom2, lowest_resolution_angstrom
    )
    return PostProcessed(
        sharpened=sharpened,
        fsc=curves,
        guinier=guinier,
        resolution_shell=resolution_shell,
        bfactor_angstrom2=bfactor,
        mask_fraction=None if mask is None else mask_fraction(mask),
        box_px=half1.shape[0],
        pixel_size_angstrom=pixel_size_angstrom,
    )


def _check_mask(mask: Map) -> None:
    good = np.isfinite(mask).all() and mask.min() >= -1e-4 and 0.0 < mask.max() <= 1.0 + 1e-4
    if not good:
        raise InputError("mask: values must lie between 0 and 1 and not all be 0")


def mask_fraction(mask: Map) -> float:
    """Volume of the sphere in the box over 1.1 times the volume inside the mask, the factor RELION writes.

    The mask counts from 0.5.  Written as rlnParticleBoxFractionSolventMask, and used for the estimate of the
    FSC inside the mask from the unmasked one: f FSC / (1 + (f - 1) FSC).
    """
    inside = int(np.count_nonzero(mask > 0.5))
    sphere = 4.0 / 3.0 * np.pi * (mask.shape[0] / 2.0) ** 3
    return float(sphere / (1.1 * max(inside, 1)))
